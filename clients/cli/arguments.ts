// Reads a command's arguments by its table of options. What is wrong is a `UsageError`, which names the argument and what is allowed.

import { nearestName } from '#lib/config/nearest.ts';
import { type Parsed, parseBoolean, parseBytes, parseDuration, parseInteger } from '#lib/config/units.ts';

interface OptionBase {
  readonly doc: string;
  /** What stands for the value in the help: `--file PATH`. */
  readonly value?: string;
  /** Shown in the help; the command applies it. */
  readonly shownDefault?: string;
}
export interface FlagOption extends OptionBase {
  readonly type: 'flag';
}
export interface TextOption extends OptionBase {
  readonly type: 'text' | 'integer' | 'duration' | 'bytes' | 'boolean';
  readonly min?: number;
  /** Words that stand for a number: `--retention forever`. */
  readonly words?: Readonly<Record<string, number>>;
}
export interface ChoiceOption extends OptionBase {
  readonly type: 'choice';
  readonly values: readonly string[];
}
export type Option = FlagOption | TextOption | ChoiceOption;
export type Options = Readonly<Record<string, Option>>;

type OptionValue<O extends Option> = O extends { readonly type: 'flag' }
  ? boolean
  : O extends { readonly type: 'integer' | 'duration' | 'bytes' }
    ? number | undefined
    : O extends { readonly type: 'boolean' }
      ? boolean | undefined
      : O extends { readonly type: 'choice'; readonly values: readonly (infer V)[] }
        ? V | undefined
        : string | undefined;

/** Option names are camelCase here and kebab-case on the command line. */
export type Values<O extends Options> = { readonly [Name in keyof O]: OptionValue<O[Name]> };

export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export interface ParsedArguments<O extends Options> {
  readonly values: Values<O>;
  readonly positionals: readonly string[];
}

export const optionFlag = (name: string): string => `--${name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)}`;

/** `--name value` and `--name=value`; `--` ends the options; a repeated one: the last counts. `positionals` are the names of what must follow. */
export function parseArguments<const O extends Options>(
  args: readonly string[],
  options: O,
  positionals: readonly string[],
): ParsedArguments<O> {
  const names = new Map(Object.keys(options).map(name => [optionFlag(name), name]));
  const values: Record<string, string | number | boolean | undefined> = {};
  for (const name of Object.keys(options)) values[name] = options[name]?.type === 'flag' ? false : undefined;
  const found: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const argument = args[index] ?? '';
    if (argument === '--') {
      found.push(...args.slice(index + 1));
      break;
    }
    if (!argument.startsWith('-') || argument === '-') {
      found.push(argument);
      continue;
    }
    const equals = argument.indexOf('=');
    const flag = equals < 0 ? argument : argument.slice(0, equals);
    const name = names.get(flag);
    const option = name === undefined ? undefined : options[name];
    if (name === undefined || option === undefined) throw unknownOption(flag, [...names.keys()]);
    if (option.type === 'flag') {
      if (equals >= 0) throw new UsageError(`${flag} takes no value`);
      values[name] = true;
      continue;
    }
    const text = equals >= 0 ? argument.slice(equals + 1) : args[++index];
    if (text === undefined) throw new UsageError(`${flag} needs a value: ${valueHint(option)}`);
    values[name] = readValue(flag, option, text);
  }
  checkPositionals(found, positionals);
  // Each value was read as its option's type says; the compiler cannot follow that through the loop.
  return { values: values as Values<O>, positionals: found };
}

function checkPositionals(found: readonly string[], wanted: readonly string[]): void {
  const missing = wanted[found.length];
  if (missing !== undefined) throw new UsageError(`${missing} is missing`);
  const extra = found[wanted.length];
  if (extra !== undefined) throw new UsageError(`${JSON.stringify(extra)} is not expected here`);
  const empty = found.indexOf('');
  if (empty >= 0) throw new UsageError(`${wanted[empty]} is empty`);
}

function unknownOption(flag: string, known: readonly string[]): UsageError {
  const nearest = nearestName(
    flag.replace(/^-+/, ''),
    known.map(name => name.slice(2)),
  );
  return new UsageError(`there is no option ${flag}${nearest ? `; did you mean --${nearest}?` : ''}`);
}

function valueHint(option: Option): string {
  return option.type === 'choice' ? option.values.join('|') : (option.value ?? option.type.toUpperCase());
}

function readValue(flag: string, option: Exclude<Option, FlagOption>, text: string): string | number | boolean {
  if (option.type === 'choice') {
    if (option.values.includes(text)) return text;
    throw wrongValue(flag, text, `one of ${option.values.join(', ')}`);
  }
  if (option.type === 'text') return text;
  const word = option.words && Object.hasOwn(option.words, text) ? option.words[text] : undefined;
  if (word !== undefined) return word;
  const result: Parsed<number | boolean> = parserOf(option.type)(text);
  const words = option.words ? `, or ${Object.keys(option.words).join(', ')}` : '';
  if (result.kind === 'wrong') throw wrongValue(flag, text, result.allowed + words);
  if (typeof result.value === 'number' && option.min !== undefined && result.value < option.min) {
    throw wrongValue(flag, text, `at least ${option.min}${words}`);
  }
  return result.value;
}

function parserOf(type: 'integer' | 'duration' | 'bytes' | 'boolean'): (text: string) => Parsed<number | boolean> {
  switch (type) {
    case 'integer':
      return parseInteger;
    case 'duration':
      return parseDuration;
    case 'bytes':
      return parseBytes;
    case 'boolean':
      return parseBoolean;
  }
}

export function wrongValue(flag: string, text: string, allowed: string): UsageError {
  return new UsageError(`${flag}: ${JSON.stringify(text.slice(0, 80))} is not ${allowed}`);
}
