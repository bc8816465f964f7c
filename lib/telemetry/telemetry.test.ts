import { connect } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { type HttpPage, type Readiness, startHttpPage } from './http.ts';
import { createLogger } from './logger.ts';
import { createMetrics } from './metrics.ts';
import { registerProcessMetrics } from './process-metrics.ts';

describe('logger', () => {
  function lines(format: 'json' | 'pretty', level: 'debug' | 'info' | 'warn' | 'error' = 'info') {
    const written: string[] = [];
    return { written, logger: createLogger({ level, format, colour: false, write: line => written.push(line) }) };
  }

  test('json has level, time, message, bound fields and own ones', () => {
    const { written, logger } = lines('json');
    logger.child({ partition: 't/0' }).info('ledger sealed', { end: 7 });
    expect(JSON.parse(written[0] ?? '')).toMatchObject({
      level: 'info',
      message: 'ledger sealed',
      partition: 't/0',
      end: 7,
      time: expect.any(Number),
    });
  });

  test('an error keeps its stack', () => {
    const { written, logger } = lines('json');
    logger.error('broken', { error: new Error('disk gone') });
    expect(JSON.parse(written[0] ?? '').error).toMatchObject({ message: 'disk gone', stack: expect.stringContaining('telemetry.test') });
  });

  test('what is below the level is not written', () => {
    const { written, logger } = lines('json', 'warn');
    logger.debug('a');
    logger.info('b');
    logger.warn('c');
    expect(written).toHaveLength(1);
  });

  test('pretty is one readable line, and text from outside cannot forge another', () => {
    const { written, logger } = lines('pretty');
    logger.warn('refused', { client: 'x\n12:00 ERROR all lost \x1b[31m', count: 3, at: '1.2.3.4:5' });
    expect(written).toHaveLength(1);
    expect(written[0]).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} WARN {2}refused client="x\\n12:00 ERROR all lost \\u001b\[31m" count=3 at=1\.2\.3\.4:5\n$/,
    );
  });

  test('pretty shows an error with its stack only where it is one', () => {
    const { written, logger } = lines('pretty');
    logger.warn('again', { error: new Error('e1') });
    logger.error('bad', { error: new Error('e2') });
    expect(written[0]?.split('\n')).toHaveLength(2);
    expect(written[1]).toMatch(/ERROR bad error=e2\n {4}at .*telemetry\.test/);
  });
});

describe('metrics', () => {
  test('values are read when the page is made, with and without labels', async () => {
    const metrics = createMetrics();
    const counted = { messages: 0 };
    metrics.value({ kind: 'counter', name: 'sluice_x_messages_total', help: 'Messages.' }, () => counted.messages);
    metrics.value({ kind: 'gauge', name: 'sluice_x_queue_bytes', help: 'Bytes.', labels: ['queue'] }, () => [
      { labels: { queue: 'a' }, value: 1 },
      { labels: { queue: 'b"\n' }, value: 2 },
    ]);
    counted.messages = 41;
    await metrics.page();
    counted.messages = 42;
    const { text, contentType } = await metrics.page();
    expect(contentType).toContain('text/plain');
    expect(text).toContain('# TYPE sluice_x_messages_total counter\nsluice_x_messages_total 42\n');
    expect(text).toContain('sluice_x_queue_bytes{queue="a"} 1\nsluice_x_queue_bytes{queue="b\\"\\n"} 2');
  });

  test('a histogram counts into cumulative buckets', async () => {
    const metrics = createMetrics();
    const histogram = metrics.histogram({ kind: 'histogram', name: 'sluice_x_seconds', help: 'Seconds.', buckets: [0.1, 1] });
    for (const value of [0.05, 0.1, 0.5, 7]) histogram.observe(value);
    const { text } = await metrics.page();
    expect(text).toContain(
      'sluice_x_seconds_bucket{le="0.1"} 2\nsluice_x_seconds_bucket{le="1"} 3\nsluice_x_seconds_bucket{le="+Inf"} 4\nsluice_x_seconds_sum 7.65\nsluice_x_seconds_count 4',
    );
  });

  test('a name twice is a mistake, a metric declared after the first page is on the next', async () => {
    const metrics = createMetrics();
    metrics.value({ kind: 'gauge', name: 'sluice_a', help: 'A.' }, () => 1);
    expect(() => metrics.value({ kind: 'gauge', name: 'sluice_a', help: 'A.' }, () => 1)).toThrow('declared twice');
    await metrics.page();
    metrics.value({ kind: 'gauge', name: 'sluice_b', help: 'B.' }, () => 2);
    expect((await metrics.page()).text).toMatch(/sluice_a 1\n.*sluice_b 2/s);
  });

  test('the process tells its CPU time and memory', async () => {
    const metrics = createMetrics();
    registerProcessMetrics(metrics, '1.2.3');
    const { text } = await metrics.page();
    expect(Number(/^process_cpu_seconds_total (.+)$/m.exec(text)?.[1])).toBeGreaterThan(0.01);
    expect(Number(/^process_resident_memory_bytes (.+)$/m.exec(text)?.[1])).toBeGreaterThan(1e6);
    expect(text).toContain('sluice_build_info{version="1.2.3"');
  });
});

describe('http page', () => {
  const pages: HttpPage[] = [];
  afterEach(async () => {
    for (const page of pages.splice(0)) await page.close();
  });

  async function start(readiness: () => Readiness = () => ({ kind: 'ready' })) {
    const metrics = createMetrics();
    metrics.value({ kind: 'gauge', name: 'sluice_x', help: 'X.' }, () => 5);
    const page = await startHttpPage({ host: '127.0.0.1', port: 0, metrics, readiness });
    pages.push(page);
    return { url: `http://127.0.0.1:${page.port}`, page };
  }

  test('livez, readyz, metrics, and nothing else', async () => {
    let readiness: Readiness = { kind: 'not_ready', reason: 'catalog is being read' };
    const { url } = await start(() => readiness);
    expect((await fetch(`${url}/livez`)).status).toBe(200);
    const early = await fetch(`${url}/readyz?x=1`);
    expect([early.status, await early.text()]).toEqual([503, 'not ready: catalog is being read\n']);
    readiness = { kind: 'ready' };
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    expect(await (await fetch(`${url}/metrics`)).text()).toContain('sluice_x 5');
    expect((await fetch(`${url}/../etc/passwd`)).status).toBe(404);
    expect((await fetch(`${url}/readyz`, { method: 'HEAD' })).status).toBe(200);
    const post = await fetch(`${url}/metrics`, { method: 'POST', body: 'x' });
    expect([post.status, post.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
  });

  test('a port in use is told by its code', async () => {
    const { page } = await start();
    const again = startHttpPage({ host: '127.0.0.1', port: page.port, metrics: createMetrics(), readiness: () => ({ kind: 'ready' }) });
    await expect(again).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });

  test('a header without end is cut off', async () => {
    const { page } = await start();
    const socket = connect(page.port, '127.0.0.1');
    const answer = new Promise<string>(resolve => socket.once('data', data => resolve(data.toString())));
    socket.on('error', () => undefined);
    socket.write(`GET /livez HTTP/1.1\r\nX: ${'y'.repeat(20_000)}`);
    expect(await answer).toContain('431');
    socket.destroy();
  });

  test('closing does not wait for connections that stay open', async () => {
    const { url, page } = await start();
    await fetch(`${url}/livez`, { headers: { connection: 'keep-alive' } });
    pages.length = 0;
    const started = performance.now();
    await page.close();
    expect(performance.now() - started).toBeLessThan(1_000);
  });
});
