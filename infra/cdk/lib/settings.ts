// What an owner chooses. The names, meanings and defaults are those of the parameters of infra/template.yaml.

import { Annotations, Fn, StackProps } from "aws-cdk-lib";
import { Construct } from "constructs";

export interface MillraceProps extends StackProps {
  /** From of single mails (welcome), an address or `Name <address>`. SES must have verified it or its domain. */
  readonly sender: string;
  /** Processor that the functions were built for. */
  readonly architecture?: "arm64" | "x86_64";
  /** What the stack is for; the tag "stage" of every resource. The tables of "prod" are protected from deletion. */
  readonly stage?: string;
  readonly logLevel?: "error" | "warn" | "info" | "debug" | "trace";
  readonly logRetentionDays?: number;
  /** Seconds a queue worker may take for one batch, 3 to 900. */
  readonly workerTimeout?: number;
  /** Seconds until an unfinished message is delivered again; at least six times `workerTimeout`, and the longest window of a lane. */
  readonly visibilityTimeout?: number;
  /** Seconds to wait for a Send event before a newsletter mail of unknown outcome is sent once more. */
  readonly settleSeconds?: number;
  /** Newsletter mails per second at most, over all campaigns. 0 is as many as SES allows, less what is kept for single mails. */
  readonly newsletterRate?: number;
  /** EventBridge bus that is told what happens to jobs; empty is nobody. */
  readonly eventBus?: string;
  /** Base of the links in mails, without a slash at the end; empty is the HTTP API's own. */
  readonly publicUrl?: string;
  /** Domain of the pixel and the links by which SES counts opens and clicks; empty is a domain of SES. */
  readonly trackingDomain?: string;
  /** Domain of the HTTP API; needs `certificateArn`. */
  readonly domainName?: string;
  readonly certificateArn?: string;
  /** Issuer of the tokens that open /v1 in place of API keys; needs `jwtAudience`. */
  readonly jwtIssuer?: string;
  readonly jwtAudience?: string;
  /** Claim of a token that names the tenant. */
  readonly jwtTenantClaim?: string;
  /** ARN of the SNS topic that alarms go to. Empty is no alarms but those of the dead letters, and no dashboard. */
  readonly alarmTopic?: string;
  /** Only for the local engine: 8 hexadecimal digits that become the id of the HTTP API. */
  readonly localApiId?: string;
  /** Only for LocalStack: leaves out what it lacks (HTTP API, SES v2, EventBridge Scheduler); needs `publicUrl`. */
  readonly emulator?: "none" | "localstack";
  /** Only for an emulator: where the functions find SES v2 instead. */
  readonly mailEndpoint?: string;
  /** Folder of the built functions, each in `<name>/bootstrap`; `target/lambda` of this clone when left out. */
  readonly built?: string;
}

/** Chosen values, with the defaults in place of what was left out. */
export class Settings {
  readonly values: Readonly<Record<string, string>>;
  readonly workerTimeout: number;
  readonly visibilityTimeout: number;
  readonly logRetentionDays: number;
  readonly isProduction: boolean;
  readonly isLocal: boolean;
  /** What LocalStack lacks is there. */
  readonly isWhole: boolean;
  readonly isWatched: boolean;
  readonly hasDomain: boolean;
  readonly hasJwt: boolean;

  constructor(scope: Construct, props: MillraceProps) {
    this.workerTimeout = props.workerTimeout ?? 30;
    this.visibilityTimeout = props.visibilityTimeout ?? 190;
    this.logRetentionDays = props.logRetentionDays ?? 30;
    this.values = {
      Architecture: props.architecture ?? "arm64",
      Stage: props.stage ?? "dev",
      Sender: props.sender,
      LogLevel: props.logLevel ?? "info",
      LogRetentionDays: `${this.logRetentionDays}`,
      WorkerTimeout: `${this.workerTimeout}`,
      VisibilityTimeout: `${this.visibilityTimeout}`,
      SettleSeconds: `${props.settleSeconds ?? 900}`,
      NewsletterRate: `${props.newsletterRate ?? 0}`,
      EventBus: props.eventBus ?? "",
      PublicUrl: props.publicUrl ?? "",
      TrackingDomain: props.trackingDomain ?? "",
      DomainName: props.domainName ?? "",
      CertificateArn: props.certificateArn ?? "",
      JwtIssuer: props.jwtIssuer ?? "",
      JwtAudience: props.jwtAudience ?? "",
      JwtTenantClaim: props.jwtTenantClaim ?? "tenant",
      AlarmTopic: props.alarmTopic ?? "",
      LocalApiId: props.localApiId ?? "",
      Emulator: props.emulator ?? "none",
      MailEndpoint: props.mailEndpoint ?? "",
    };
    this.isProduction = this.of("Stage") === "prod";
    this.isWhole = this.of("Emulator") !== "localstack";
    this.isLocal = !this.isWhole || this.of("LocalApiId") !== "";
    this.isWatched = this.of("AlarmTopic") !== "";
    this.hasDomain = this.isWhole && this.of("DomainName") !== "";
    this.hasJwt = this.isWhole && this.of("JwtIssuer") !== "";
    const refuse = (wrong: boolean, text: string) => {
      if (wrong) Annotations.of(scope).addError(text);
    };
    refuse(!props.sender.includes("@"), "sender is an address, or a name and <address>.");
    refuse(this.hasDomain && this.of("CertificateArn") === "", "A domainName needs a certificateArn.");
    refuse(this.hasJwt && this.of("JwtAudience") === "", "A jwtIssuer needs a jwtAudience.");
    const nowhere = !this.isWhole && this.of("PublicUrl") === "";
    refuse(nowhere, "LocalStack has no HTTP API that a publicUrl could follow from.");
    // The local engine takes less, and tests want it.
    const short = !this.isLocal && this.visibilityTimeout < 6 * this.workerTimeout;
    refuse(short, "visibilityTimeout is at least six times workerTimeout.");
  }

  of(name: string): string {
    const value = this.values[name];
    if (value === undefined) throw new Error(`there is no setting ${name}`);
    return value;
  }

  /** A value of the table, which is written in CloudFormation's terms, with these settings in it. */
  value(given: unknown): string {
    if (typeof given === "string") return given;
    const [[kind, of]] = Object.entries(given as Record<string, unknown>) as [[string, unknown]];
    switch (kind) {
      case "Ref":
        return this.values[of as string] ?? Fn.ref(of as string);
      case "Fn::Sub":
        return this.text(of as string);
      case "Fn::If": {
        const [condition, yes, no] = of as [string, unknown, unknown];
        return this.value(this.holds(condition) ? yes : no);
      }
      default:
        throw new Error(`the table may not use ${kind}`);
    }
  }

  /** The text of a `Fn::Sub`. */
  text(given: string): string {
    const filled = given.replace(/\$\{([A-Za-z]+)\}/g, (whole, name: string) => this.values[name] ?? whole);
    return filled.includes("${") ? Fn.sub(filled) : filled;
  }

  private holds(condition: string): boolean {
    const known: Record<string, boolean> = {
      IsLocal: this.isLocal,
      IsWhole: this.isWhole,
      HasDomain: this.hasDomain,
      HasJwt: this.hasJwt,
      HasPublicUrl: !this.isWhole || this.of("PublicUrl") !== "",
    };
    const found = known[condition];
    if (found === undefined) throw new Error(`there is no condition ${condition}`);
    return found;
  }
}
