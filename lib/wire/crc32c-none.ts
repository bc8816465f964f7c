// Stands for the native checksum where there is none: in the client's package, which has no native code.

export const crc32c = null;
