/** Replicas are replaced under load: in every order of endpoints and processes, however a replica ends. */
import t from 'tap';
import { ENDINGS, ORDERS, rollingReplacement } from '../rolling/replacement.ts';

t.setTimeout(180_000);

for (const order of ORDERS) {
  t.test(
    `no request fails when an endpoint goes out of the configuration ${order} its replica ends`,
    async t => {
      const report = await rollingReplacement(t, {
        rounds: ENDINGS.map(ending => [order, ending]),
        perSecond: 100,
        slowestMs: 600,
        slowEvery: 10,
        drainSeconds: 60, // longer than the slowest request on a busy machine
      });
      const { requests, failures, seconds, replacements, refused, took } = report;
      t.comment(
        `${requests} requests in ${Math.round(seconds)} s, ${failures} failed; ${replacements} replacements, ` +
          `${refused} attempts to connect failed; slowest ${Math.round(took.most)} ms beyond what the app took`,
      );
      t.same(report.told, []);
      t.equal(failures, 0);
      t.equal(replacements, 2 * ENDINGS.length);
      t.ok(requests > replacements * 10, 'there were requests all the time');
      const codes = new Set(report.exits.map(({ code }) => code));
      t.same([...codes].toSorted(), [0, 143], 'each ended by itself, `run -- APP` as its app did');
    },
  );
}
