import { GRPC_ROWS } from './grpc-rows.ts';
import { playEnvoy } from './play.ts';

playEnvoy(GRPC_ROWS);
