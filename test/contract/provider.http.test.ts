import { providerContract } from '../../core/testing/index.ts';
import { httpRolesBench } from './http-provider-bench.ts';

providerContract('http', httpRolesBench);
