// The table of functions, as infra/functions.json holds it and infra/functions.schema.json describes it.

import * as fs from "node:fs";
import * as path from "node:path";

export interface Grant {
  readonly actions: string[];
  readonly on: string[];
  readonly condition?: Record<string, Record<string, string[]>>;
  readonly why?: string;
}

export interface Lane {
  readonly lane: "high" | "normal" | "low" | "ordered";
  readonly batch: number;
  readonly window: number;
  readonly concurrency: number;
}

export interface SingleQueue {
  readonly batch: number;
  readonly window: number;
  readonly concurrency: number;
  /** Logical id of the rule that sends to it. */
  readonly fed_by?: string;
}

export interface Tick {
  readonly rate: string;
  readonly description: string;
  readonly max_age_seconds: number;
  readonly retries: number;
}

export interface Stream {
  readonly table: string;
  readonly batch: number;
  readonly window: number;
  readonly parallel: number;
  readonly partial_answers?: boolean;
  readonly tumbling_seconds?: number;
  readonly max_age_seconds: number;
  readonly filters?: object[];
}

export interface Row {
  readonly name: string;
  readonly description: string;
  readonly trigger: {
    readonly http?: { readonly route: string };
    readonly lanes?: Lane[];
    readonly queue?: SingleQueue;
    readonly schedule?: Tick;
    readonly stream?: Stream;
  };
  readonly timeout?: number;
  readonly memory?: number;
  readonly env: string[];
  readonly grants: Grant[];
}

export interface Table {
  /** What each environment variable holds, in CloudFormation's own terms. */
  readonly variables: Record<string, unknown>;
  readonly grants: { readonly every: Grant[]; readonly queue: Grant[]; readonly stream: Grant[] };
  readonly functions: Row[];
}

/** The folder `infra/` of this clone; from `dist/lib/` and from `lib/` alike. */
function infra(): string {
  const cdk = path.basename(path.dirname(__dirname)) === "dist" ? path.join(__dirname, "../..") : path.dirname(__dirname);
  return path.dirname(cdk);
}

export const TABLE_FILE = path.join(infra(), "functions.json");
export const SAM_TEMPLATE = path.join(infra(), "template.yaml");
/** Where `make build` puts the functions. */
export const BUILT = path.join(path.dirname(infra()), "target/lambda");

export function readTable(file: string = TABLE_FILE): Table {
  return JSON.parse(fs.readFileSync(file, "utf8")) as Table;
}

/** `newsletter-run` as `NewsletterRun`, which logical ids begin with. */
export function camel(name: string): string {
  return name.split(/[-_]/).map((word) => word.charAt(0).toUpperCase() + word.slice(1).toLowerCase()).join("");
}
