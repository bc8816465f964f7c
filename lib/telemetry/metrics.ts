// Metrics over prom-client. A hot path only adds to plain numbers; they are read when somebody asks. Each part declares its metrics in its
// `metrics.ts` with `declare…` specs (name, help, labels), and gives `read` functions or takes histograms when it is built.
// prom-client is loaded when the first page is made (`prepare` does it ahead), so that an embedded server does not pay for it.

import type { Counter, Gauge, Metric, Registry } from 'prom-client';
import { assert } from '#lib/types/assert.ts';

/** `name` is `sluice_<part>_<what>_<unit>`, a counter's ends in `_total`; `help` is a sentence that names the unit. */
export interface ValueSpec<Label extends string = string> {
  readonly kind: 'counter' | 'gauge';
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly Label[];
}
export interface HistogramSpec {
  readonly kind: 'histogram';
  readonly name: string;
  readonly help: string;
  /** Upper bounds, ascending; what is above the last one counts as +Inf. */
  readonly buckets: readonly number[];
}

/** One number, or one for each set of labels. */
export type Samples<Label extends string = string> =
  | number
  | readonly { readonly labels: Readonly<Record<Label, string>>; readonly value: number }[];

/** Seconds, from 100 µs to 10 s. */
export const LATENCY_BUCKETS: readonly number[] = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

/** Counts observations in plain arrays: no allocation, no look-up by label. */
export class Histogram {
  readonly spec: HistogramSpec;
  readonly counts: Float64Array;
  sum = 0;

  constructor(spec: HistogramSpec) {
    assert(
      spec.buckets.length > 0 && spec.buckets.every((bound, index) => index === 0 || bound > (spec.buckets[index - 1] ?? 0)),
      `${spec.name}: buckets do not ascend`,
    );
    this.spec = spec;
    this.counts = new Float64Array(spec.buckets.length + 1);
  }

  observe(value: number): void {
    const { buckets } = this.spec;
    let low = 0;
    let high = buckets.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (value <= (buckets[middle] ?? 0)) high = middle;
      else low = middle + 1;
    }
    this.counts[low] = (this.counts[low] ?? 0) + 1;
    this.sum += value;
  }
}

export interface Metrics {
  /** `read` is called whenever a page is made; it must not be dear, and never throws. */
  value<Label extends string>(spec: ValueSpec<Label>, read: () => Samples<Label>): void;
  histogram(spec: HistogramSpec): Histogram;
  /** Loads what a page needs. */
  prepare(): Promise<void>;
  /** The page, in Prometheus' text format. */
  page(): Promise<{ readonly contentType: string; readonly text: string }>;
}

export function createMetrics(): Metrics {
  return new PlainMetrics();
}

class PlainMetrics implements Metrics {
  readonly #values: { readonly spec: ValueSpec; readonly read: () => Samples }[] = [];
  readonly #histograms: Histogram[] = [];
  readonly #names = new Set<string>();
  #registry: Promise<Registry> | null = null;

  value<Label extends string>(spec: ValueSpec<Label>, read: () => Samples<Label>): void {
    this.#declare(spec.name);
    this.#values.push({ spec, read });
  }

  histogram(spec: HistogramSpec): Histogram {
    this.#declare(spec.name);
    const histogram = new Histogram(spec);
    this.#histograms.push(histogram);
    return histogram;
  }

  async prepare(): Promise<void> {
    await this.#loaded();
  }

  async page(): Promise<{ contentType: string; text: string }> {
    const registry = await this.#loaded();
    return { contentType: registry.contentType, text: await registry.metrics() };
  }

  #declare(name: string): void {
    assert(/^[a-z][a-z0-9_]*$/.test(name), `${name} is no name for a metric`);
    assert(!this.#names.has(name), `the metric ${name} is declared twice`);
    this.#names.add(name);
    // Declared after a page was made: the next page begins anew.
    this.#registry = null;
  }

  #loaded(): Promise<Registry> {
    this.#registry ??= import('prom-client').then(client => {
      const registry = new client.Registry();
      for (const { spec, read } of this.#values) {
        const config = { name: spec.name, help: spec.help, labelNames: [...(spec.labels ?? [])], registers: [registry] };
        if (spec.kind === 'counter') new client.Counter({ ...config, collect: collectCounter(read) });
        else new client.Gauge({ ...config, collect: collectGauge(read) });
      }
      for (const histogram of this.#histograms) registry.registerMetric(exposed(histogram));
      return registry;
    });
    return this.#registry;
  }
}

function collectCounter(read: () => Samples): (this: Counter) => void {
  return function collect(this: Counter) {
    this.reset();
    const samples = read();
    if (typeof samples === 'number') this.inc(samples);
    else for (const sample of samples) this.inc(sample.labels, sample.value);
  };
}

function collectGauge(read: () => Samples): (this: Gauge) => void {
  return function collect(this: Gauge) {
    this.reset();
    const samples = read();
    if (typeof samples === 'number') this.set(samples);
    else for (const sample of samples) this.set(sample.labels, sample.value);
  };
}

/** What prom-client's registry asks of a metric. */
function exposed(histogram: Histogram): Metric {
  const { name, help, buckets } = histogram.spec;
  const get = async () => {
    let count = 0;
    const values: { metricName: string; labels: Record<string, number | string>; value: number }[] = [];
    histogram.counts.forEach((added, index) => {
      count += added;
      values.push({ metricName: `${name}_bucket`, labels: { le: buckets[index] ?? '+Inf' }, value: count });
    });
    values.push({ metricName: `${name}_sum`, labels: {}, value: histogram.sum }, { metricName: `${name}_count`, labels: {}, value: count });
    return { name, help, type: 'histogram', aggregator: 'sum', values };
  };
  return { name, help, get } as unknown as Metric;
}
