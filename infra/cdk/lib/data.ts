// Tables and the bucket. They outlive the stack.

import { Duration, RemovalPolicy, aws_dynamodb as dynamodb, aws_s3 as s3 } from "aws-cdk-lib";
import { Construct } from "constructs";
import { acknowledge } from "./reasons";
import { Settings } from "./settings";

const { STRING, NUMBER } = dynamodb.AttributeType;
const text = (name: string) => ({ name, type: STRING });
const number = (name: string) => ({ name, type: NUMBER });

export class Data extends Construct {
  readonly jobs: dynamodb.Table;
  readonly mail: dynamodb.Table;
  readonly outbox: dynamodb.Table;
  readonly keys: dynamodb.Table;
  readonly bucket: s3.Bucket;

  /** `streamed`: logical ids of the tables that a function reads the stream of. */
  constructor(scope: Construct, settings: Settings, streamed: ReadonlySet<string>) {
    super(scope, "data");
    const table = (id: string, sortKey?: dynamodb.Attribute) =>
      new dynamodb.Table(this, id, {
        partitionKey: text("pk"),
        sortKey,
        billingMode: dynamodb.BillingMode.PAY_PER_REQUEST,
        stream: streamed.has(id) ? dynamodb.StreamViewType.NEW_AND_OLD_IMAGES : undefined,
        deletionProtection: settings.isProduction,
        pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
        encryption: dynamodb.TableEncryption.AWS_MANAGED,
        timeToLiveAttribute: "expires_at",
        removalPolicy: RemovalPolicy.RETAIN,
      });
    this.jobs = table("JobsTable");
    // Only keys, and such as never change: an update of a job costs nothing more by it.
    this.jobs.addGlobalSecondaryIndex({
      indexName: "recent",
      partitionKey: text("tenant"),
      sortKey: number("created_at"),
      projectionType: dynamodb.ProjectionType.KEYS_ONLY,
    });
    // Holds only what waits for the clock; due_at is in milliseconds since 1970.
    this.jobs.addGlobalSecondaryIndex({
      indexName: "due",
      partitionKey: text("due_shard"),
      sortKey: number("due_at"),
      projectionType: dynamodb.ProjectionType.INCLUDE,
      nonKeyAttributes: ["kind", "tenant"],
    });
    // Holds only what is dead, with what a bulk retry chooses by.
    this.jobs.addGlobalSecondaryIndex({
      indexName: "dead",
      partitionKey: text("dead_of"),
      sortKey: number("finished_at"),
      projectionType: dynamodb.ProjectionType.INCLUDE,
      nonKeyAttributes: ["kind", "tags", "error"],
    });
    this.mail = table("MailTable", text("sk"));
    this.mail.addGlobalSecondaryIndex({
      indexName: "due",
      partitionKey: text("due_shard"),
      sortKey: number("due_at"),
      projectionType: dynamodb.ProjectionType.KEYS_ONLY,
    });
    // What follows from jobs: counts by state and by minute, and the groups that wait for their jobs.
    this.outbox = table("OutboxTable", text("sk"));
    this.keys = table("KeysTable");

    // Payloads and results too large for a job's item, and the letters of campaigns.
    this.bucket = new s3.Bucket(this, "Bucket", {
      blockPublicAccess: s3.BlockPublicAccess.BLOCK_ALL,
      objectOwnership: s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
      encryption: s3.BucketEncryption.S3_MANAGED,
      lifecycleRules: [
        // A job may wait for 366 days and then lie dead for 365: so long its payload is needed.
        { id: "payloads", prefix: "payloads/", expiration: Duration.days(760) },
        // Jobs that succeeded are kept for 30 days.
        { id: "results", prefix: "results/", expiration: Duration.days(32) },
        // Lists of people: not kept longer than it takes to fetch them.
        { id: "imports", prefix: "imports/", expiration: Duration.days(7) },
        { id: "exports", prefix: "exports/", expiration: Duration.days(7) },
        // Uploads in parts that nobody completed.
        { id: "parts", abortIncompleteMultipartUploadAfter: Duration.days(7) },
      ],
      removalPolicy: RemovalPolicy.RETAIN,
    });
    const reason = "Only the functions' roles reach it, and CloudTrail's data events log them where that is wanted.";
    acknowledge(this.bucket, "AwsSolutions-S1", reason);
    // The local engine speaks plain HTTP on the loopback interface.
    if (!settings.isLocal) {
      new s3.CfnBucketPolicy(this, "BucketPolicy", {
        bucket: this.bucket.bucketName,
        policyDocument: onlyTls("s3:*", [this.bucket.bucketArn, `${this.bucket.bucketArn}/*`]),
      });
    }
  }
}

/** A policy that refuses whoever does not use TLS. */
export function onlyTls(action: string, resource: string | string[], ...others: object[]): object {
  const refused = {
    Sid: "OnlyTls",
    Effect: "Deny",
    Principal: "*",
    Action: action,
    Resource: resource,
    Condition: { Bool: { "aws:SecureTransport": "false" } },
  };
  return { Version: "2012-10-17", Statement: [refused, ...others] };
}
