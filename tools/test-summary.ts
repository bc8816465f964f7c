// Prints the plain closing line of a test run, `N passed, N failed, N skipped`, from vitest's JSON results; fails when no test ran.
import { readFileSync } from 'node:fs';

interface Results {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numFailedTestSuites: number;
}

const results = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Results;
// A file that does not even load has no failed tests, only a failed suite.
const failed = Math.max(results.numFailedTests, results.numFailedTestSuites > 0 ? 1 : 0);
const skipped = results.numPendingTests > 0 ? `, ${results.numPendingTests} skipped` : '';
console.log(`${results.numPassedTests} passed, ${failed} failed${skipped}`);
if (results.numPassedTests === 0 || failed > 0) process.exitCode = 1;
