// The version of this release; a check keeps it equal to package.json.

export const VERSION = '0.1.0';
