// Composes one process: an embedded index, one bookie, one broker, and the HTTP page of health and metrics. `startSluice` is also what
// users' tests call: in memory, on a random port, without a trace on disk.
