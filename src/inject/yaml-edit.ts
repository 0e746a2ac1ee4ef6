/** Edits done to a YAML document in place, so that its comments and its order stay. */
import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  visit,
  type YAMLMap,
} from 'yaml';
import type { Edit } from './json-patch.ts';
import type { Json, JsonPath } from './json-value.ts';

/** Does the edits, in their order. */
export function applyEdits(document: Document.Parsed, edits: readonly Edit[]): void {
  for (const edit of edits) {
    const parent = edit.path.slice(0, -1);
    const step = edit.path.at(-1);
    unfold(document, parent);
    if (edit.op === 'remove') document.deleteIn(edit.path);
    else {
      const list = document.getIn(parent, true);
      const node = nodeOf(document, edit.value);
      if (edit.op === 'add' && isSeq(list) && typeof step === 'number') list.items.splice(step, 0, node);
      else document.setIn(edit.path, node);
    }
  }
}

/** Texts of several lines or in JSON keep their quotes readable; lists of words stay on a line. */
function nodeOf(document: Document.Parsed, value: Json): Node {
  const node = document.createNode(value);
  if (!isNode(node)) throw new TypeError('a value of JSON makes a node');
  visit(node, {
    Seq(_key, seq) {
      const short =
        seq.items.length <= 3 && seq.items.every(item => isScalar(item) && String(item.value).length <= 16);
      if (short) seq.flow = true;
    },
  });
  return node;
}

/** A collection on one line, `{ a: 1 }`, gets lines of its own before something is put into it. */
function unfold(document: Document.Parsed, path: JsonPath): void {
  for (let length = 0; length <= path.length; length++) {
    const node = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
    if (isCollection(node)) node.flow = false;
  }
}

/** Where in the text something stands, or the nearest thing around it that does. */
export function spotOf(document: Document.Parsed, path: JsonPath): number {
  for (let length = path.length; length > 0; length--) {
    const parent = length === 1 ? document.contents : document.getIn(path.slice(0, length - 1), true);
    const step = path[length - 1];
    const found = isMap(parent)
      ? (parent.items.find(({ key }) => isScalar(key) && key.value === step)?.key as Node | undefined)
      : isSeq(parent) && typeof step === 'number'
        ? (parent.items[step] as Node | undefined)
        : undefined;
    if (found?.range) return found.range[0];
  }
  return document.contents?.range[0] ?? document.range[0];
}

/** Puts copies in the place of aliases and merge keys: an edit of one must not change what stands elsewhere. */
export function expandAliases(document: Document.Parsed): void {
  if (!hasAnchors(document)) return;
  visit(document, {
    Alias(_key, alias) {
      return alias.resolve(document)?.clone() as Node | undefined;
    },
  });
  visit(document, {
    Node(_key, node) {
      if (!isAlias(node)) delete node.anchor;
    },
  });
  visit(document, {
    Map(_key, map) {
      expandMerges(map);
    },
  });
}

function hasAnchors(document: Document.Parsed): boolean {
  let found = false;
  visit(document, {
    Alias() {
      found = true;
      return visit.BREAK;
    },
  });
  return found;
}

function expandMerges(map: YAMLMap): void {
  const isMerge = (pair: Pair): boolean =>
    isScalar(pair.key) && pair.key.type === 'PLAIN' && String(pair.key.source) === '<<';
  const own = map.items.filter(pair => !isMerge(pair));
  if (own.length === map.items.length) return;
  const names = new Set(own.map(({ key }) => keyOf(key)));
  const merged = map.items.filter(isMerge).flatMap(({ value }) => (isSeq(value) ? value.items : [value]));
  const added = merged.flatMap(source => (isMap(source) ? source.items.filter(isPair) : []));
  const fresh = added.filter(({ key }) => !names.has(keyOf(key)) && names.add(keyOf(key)));
  map.items = [...own, ...fresh];
}

function keyOf(key: unknown): string {
  return String(isScalar(key) ? key.value : key);
}

/** How a text is written. */
export interface Form {
  readonly indent: number;
  /** Lists stand deeper than their names. */
  readonly indentSeq: boolean;
  /** `{ a: 1 }` and not `{a: 1}`. */
  readonly paddedMaps: boolean;
  /** `[ 1 ]` and not `[1]`. */
  readonly paddedLists: boolean;
}

export function formOf(text: string): Form {
  const list = /^( *)[^\s#-][^\n]*:[ \t]*(?:#[^\n]*)?\n(?:[ \t]*(?:#[^\n]*)?\n)*( *)- /m.exec(text);
  const map = /^( *)(?:- )*[^\s#-][^\n]*:[ \t]*(?:#[^\n]*)?\n( +)[^\s#-]/m.exec(text);
  const json = /^\{\n( +)"/.exec(text);
  const step = (json?.[1]?.length ?? (map?.[2]?.length ?? 2) - (map?.[1]?.length ?? 0)) || 2;
  return {
    indent: Math.min(Math.max(step, 2), 8),
    indentSeq: list === null || (list[2]?.length ?? 0) > (list[1]?.length ?? 0),
    paddedMaps: !/[:-] \{[^\s}]/.test(text),
    paddedLists: /[:-] \[ /.test(text),
  };
}

/** The document as text in the given form; lines stay as long as they are. */
export function writeYaml(document: Document.Parsed, form: Form): string {
  const { indent, indentSeq, paddedMaps, paddedLists } = form;
  if (paddedLists !== paddedMaps) {
    visit(document, {
      Seq(_key, seq) {
        if (seq.flow !== true) return; // what stands in it would have its padding
        // The library has one switch for both.
        const write = seq.toString.bind(seq);
        seq.toString = (context, ...rest) =>
          write(context && { ...context, flowCollectionPadding: paddedLists ? ' ' : '' }, ...rest);
      },
    });
  }
  return document.toString({ lineWidth: 0, indent, indentSeq, flowCollectionPadding: paddedMaps });
}
