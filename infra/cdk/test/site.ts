// Stacks to look at, of functions that are not really built.

import { App } from "aws-cdk-lib";
import { Template as Assertions } from "aws-cdk-lib/assertions";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { MillraceProps, MillraceStack } from "../lib";
import { readTable } from "../lib/table";

export const SENDER = "Millrace <news@example.com>";

/** What `millrace local up --endpoint` chooses. */
export const LOCALSTACK = {
  emulator: "localstack",
  mailEndpoint: "http://172.31.87.1:4567",
  publicUrl: "http://127.0.0.1:9000/lambda-url/api",
} as const;

let folder: string | undefined;

/** A folder with an empty `bootstrap` for each function. */
export function built(): string {
  if (folder === undefined) {
    const made = fs.mkdtempSync(path.join(os.tmpdir(), "millrace-cdk-"));
    process.on("exit", () => fs.rmSync(made, { recursive: true, force: true }));
    for (const { name } of readTable().functions) {
      fs.mkdirSync(path.join(made, name));
      fs.writeFileSync(path.join(made, name, "bootstrap"), name);
    }
    folder = made;
  }
  return folder;
}

export function stack(props: Partial<MillraceProps> = {}, app = new App({ analyticsReporting: false })): MillraceStack {
  return new MillraceStack(app, "millrace", { sender: SENDER, built: built(), ...props });
}

export function synthesised(props: Partial<MillraceProps> = {}): Record<string, any> {
  return Assertions.fromStack(stack(props)).toJSON();
}
