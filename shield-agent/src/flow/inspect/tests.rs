//! What real requests mean.

use proptest::prelude::*;

use super::action::Effect::{self, Delete, Deploy, Execute, Grant, Message, Read, Spend, Unknown, Write};
use super::{classify, needs_body};
use crate::flow::http::canonical::{Header, RequestHead, Scheme};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

fn head(method: &str, url: &str, headers: &[(&str, &str)]) -> RequestHead {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    let (host, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let header =
        |(name, value): &(&str, &str)| Header { name: (*name).into(), value: value.as_bytes().to_vec() };
    RequestHead {
        scheme: Scheme::Https,
        host: host.into(),
        port: 443,
        method: method.into(),
        target: if target.is_empty() { "/".into() } else { target.into() },
        headers: headers.iter().map(header).collect(),
    }
}

fn effect(method: &str, url: &str, kind: &str, body: &str) -> Effect {
    classify(&head(method, url, &[("content-type", kind)]), Some(body.as_bytes())).effect
}

fn all(cases: &[(&str, &str, Effect)]) {
    for (method, url, expected) in cases {
        assert_eq!(effect(method, url, "", ""), *expected, "{method} {url}");
    }
}

#[test]
fn a_method_says_what_happens_where_nobody_knows_more() {
    all(&[
        ("GET", "https://crm.acme.internal/v1/customers", Read),
        ("HEAD", "https://crm.acme.internal/", Read),
        ("OPTIONS", "https://crm.acme.internal/", Read),
        ("POST", "https://crm.acme.internal/v1/customers", Write),
        ("PATCH", "https://crm.acme.internal/v1/customers/1", Write),
        ("DELETE", "https://crm.acme.internal/v1/customers/1", Delete),
        ("PURGE", "https://cdn.acme.internal/x", Delete),
        ("FROB", "https://crm.acme.internal/", Unknown),
        ("GET", "https://crm.acme.internal/x?_method=DELETE", Delete),
        ("POST", "https://crm.acme.internal/x?_method=delete", Delete),
        ("POST", "https://git.acme.internal/a.git/git-upload-pack", Read),
        ("POST", "https://git.acme.internal/a.git/git-receive-pack", Write),
        ("POST", "https://es.acme.internal/logs/_search", Read),
        ("POST", "https://es.acme.internal/logs/_delete_by_query", Delete),
    ]);
    let overridden = head("POST", "https://a.example/x", &[("x-http-method-override", "DELETE")]);
    assert_eq!(classify(&overridden, None).effect, Delete);
}

#[test]
fn a_resource_and_a_summary_are_words_a_reviewer_reads() {
    for (url, resource, operation) in [
        ("https://crm.acme.internal/v1/customers/8821", "customer 8821", "DELETE /v1/customers/{id}"),
        ("https://crm.acme.internal/v1/customers/acme", "customer acme", "DELETE /v1/customers/{id}"),
        (
            "https://crm.acme.internal/v1/companies/7/notes/9",
            "note 9",
            "DELETE /v1/companies/{id}/notes/{id}",
        ),
        (
            "https://crm.acme.internal/v1/categories/12345678-aaaa",
            "category 12345678-aaaa",
            "DELETE /v1/categories/{id}",
        ),
        ("https://crm.acme.internal/v1/customers", "customers", "DELETE /v1/customers"),
    ] {
        let action = classify(&head("DELETE", url, &[]), None);
        assert_eq!(
            (action.resource.as_deref(), action.operation.as_str()),
            (Some(resource), operation),
            "{url}"
        );
    }
    let action = classify(&head("DELETE", "https://crm.acme.internal/v1/customers/8821", &[]), None);
    assert_eq!(action.summary, "Delete customer 8821 at crm.acme.internal");
    assert_eq!(action.reversible, Some(false));
}

#[test]
fn kubernetes_is_read_by_verb_resource_and_namespace() {
    all(&[
        ("GET", "https://k8s/api/v1/namespaces/prod/pods", Read),
        ("DELETE", "https://k8s/api/v1/namespaces/prod/pods/web-1", Delete),
        ("DELETE", "https://k8s/apis/apps/v1/namespaces/prod/deployments", Delete),
        ("POST", "https://k8s/api/v1/namespaces/prod/pods/web-1/exec?command=sh", Execute),
        ("GET", "https://k8s/api/v1/namespaces/prod/pods/web-1/exec?command=sh", Execute),
        ("POST", "https://k8s/api/v1/namespaces/prod/pods/web-1/eviction", Delete),
        ("POST", "https://k8s/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", Grant),
        ("POST", "https://k8s/api/v1/namespaces/x/serviceaccounts/y/token", Grant),
        ("PATCH", "https://k8s/apis/apps/v1/namespaces/prod/deployments/web", Write),
        ("DELETE", "https://k8s/api/v1/namespaces/prod", Delete),
        ("DELETE", "https://k8s/api/v1/nodes/n1", Delete),
        ("POST", "https://crm.acme.internal/api/v1/customers", Write),
    ]);
    let place = |url: &str| classify(&head("DELETE", url, &[]), None);
    let pods = place("https://k8s.acme.example/api/v1/namespaces/prod-eu/pods");
    assert_eq!(pods.environment.as_deref(), Some("production"));
    assert_eq!(pods.resource.as_deref(), Some("pods (all) in namespace prod-eu"));
    assert_eq!(pods.operation, "deletecollection pods");
    assert_eq!(place("https://k8s/api/v1/namespaces/staging/pods/x").environment.as_deref(), Some("staging"));
}

#[test]
fn money_is_seen_with_its_amount_where_the_provider_is_known() {
    all(&[
        ("POST", "https://api.stripe.com/v1/refunds", Spend),
        ("POST", "https://api.stripe.com/v1/transfers", Spend),
        ("GET", "https://api.stripe.com/v1/charges", Read),
        ("POST", "https://api.stripe.com/v1/customers", Write),
        ("POST", "https://shop.acme.internal/orders/7/refund", Spend),
        ("POST", "https://billing.acme.internal/payouts", Spend),
        ("POST", "https://files.acme.internal/transfers", Write),
        ("POST", "https://api-m.paypal.com/v2/checkout/orders/5O1/capture", Spend),
    ]);
    let stripe = head("POST", "https://api.stripe.com/v1/refunds", &[("content-type", FORM)]);
    let refund = classify(&stripe, Some(b"charge=ch_1&amount=1999&currency=eur"));
    assert_eq!((refund.amount, refund.currency.as_deref()), (Some(1999), Some("EUR")));
    assert!(refund.summary.ends_with("(19.99 EUR)"), "{}", refund.summary);
    let paypal = head("POST", "https://api-m.paypal.com/v2/payments/captures/2GG/refund", &[]);
    let refund = classify(&paypal, Some(br#"{"amount":{"value":"10.5","currency_code":"USD"}}"#));
    assert_eq!((refund.amount, refund.currency.as_deref()), (Some(1050), Some("USD")));
    let adyen = head("POST", "https://checkout-test.adyen.com/v71/payments", &[]);
    let payment = classify(&adyen, Some(br#"{"amount":{"value":2500,"currency":"EUR"}}"#));
    assert_eq!(payment.amount, Some(2500));
}

#[test]
fn messages_to_people_are_seen() {
    all(&[
        ("POST", "https://api.sendgrid.com/v3/mail/send", Message),
        ("POST", "https://api.mailgun.net/v3/acme.example/messages", Message),
        ("POST", "https://api.postmarkapp.com/email", Message),
        ("POST", "https://api.resend.com/emails", Message),
        ("POST", "https://gmail.googleapis.com/gmail/v1/users/me/messages/send", Message),
        ("POST", "https://graph.microsoft.com/v1.0/me/sendMail", Message),
        ("POST", "https://slack.com/api/chat.postMessage", Message),
        ("POST", "https://slack.com/api/conversations.list", Write),
        ("POST", "https://hooks.slack.com/services/T/B/x", Message),
        ("POST", "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json", Message),
        ("POST", "https://api.telegram.org/bot1:x/sendMessage", Message),
        ("GET", "https://api.telegram.org/bot1:x/getMe", Read),
        ("POST", "https://tools.acme.internal/send-email", Message),
    ]);
}

#[test]
fn changes_of_access_are_seen() {
    all(&[
        ("PUT", "https://api.github.com/repos/acme/app/collaborators/eve", Grant),
        ("DELETE", "https://api.github.com/repos/acme/app/branches/main/protection", Delete),
        ("POST", "https://api.github.com/user/keys", Grant),
        ("GET", "https://api.github.com/user/keys", Read),
        ("POST", "https://api.github.com/repos/acme/app/issues", Write),
        ("POST", "https://gitlab.com/api/v4/projects/1/members", Grant),
        ("POST", "https://git.acme.internal/api/v4/groups/1/members", Grant),
        ("POST", "https://acme.okta.com/api/v1/users", Grant),
        ("POST", "https://cloudresourcemanager.googleapis.com/v1/projects/p:setIamPolicy", Grant),
        ("PUT", "https://management.azure.com/subscriptions/1/providers/x/roleAssignments/2", Grant),
        ("POST", "https://api.github.com/repos/acme/app/actions/workflows/1/dispatches", Deploy),
        ("PUT", "https://api.github.com/repos/acme/app/pulls/7/merge", Deploy),
        ("POST", "https://app.terraform.io/api/v2/runs/run-1/actions/apply", Deploy),
        ("POST", "https://api.vercel.com/v13/deployments", Deploy),
    ]);
}

#[test]
fn aws_is_read_by_its_action_wherever_it_is_written() {
    let form = |body: &str| effect("POST", "https://ec2.eu-west-1.amazonaws.com/", FORM, body);
    assert_eq!(form("Action=DescribeInstances&Version=2016-11-15"), Read);
    assert_eq!(form("Action=TerminateInstances&InstanceId.1=i-1"), Delete);
    assert_eq!(form("Version=2016-11-15"), Unknown);
    assert_eq!(effect("POST", "https://iam.amazonaws.com/", FORM, "Action=CreateAccessKey"), Grant);
    assert_eq!(effect("POST", "https://email.eu-west-1.amazonaws.com/", FORM, "Action=SendEmail"), Message);
    assert_eq!(effect("GET", "https://ec2.amazonaws.com/?Action=DeleteVolume", "", ""), Delete);
    let target = head(
        "POST",
        "https://dynamodb.eu-west-1.amazonaws.com/",
        &[("x-amz-target", "DynamoDB_20120810.DeleteTable")],
    );
    assert_eq!(classify(&target, Some(b"{}")).effect, Delete);
    let two = head("POST", "https://ec2.amazonaws.com/?Action=DescribeInstances", &[("content-type", FORM)]);
    assert_eq!(classify(&two, Some(b"Action=TerminateInstances")).effect, Delete);
    all(&[
        ("GET", "https://bucket.s3.eu-west-1.amazonaws.com/key", Read),
        ("PUT", "https://bucket.s3.amazonaws.com/key", Write),
        ("DELETE", "https://s3.amazonaws.com/bucket/key", Delete),
        ("POST", "https://bucket.s3.amazonaws.com/?delete", Delete),
        ("PUT", "https://bucket.s3.amazonaws.com/?policy", Grant),
        ("POST", "https://lambda.eu-west-1.amazonaws.com/2015-03-31/functions/f/invocations", Execute),
    ]);
}

#[test]
fn the_gravest_word_of_a_statement_counts() {
    let sql = |statement: &str| {
        let body = serde_json::json!({ "statement": statement }).to_string();
        effect("POST", "https://acme.snowflakecomputing.com/api/v2/statements", JSON, &body)
    };
    for (statement, expected) in [
        ("SELECT * FROM customers", Read),
        ("select 'drop table customers'", Read),
        ("-- drop table x\nselect 1", Read),
        ("INSERT INTO t VALUES (1)", Write),
        ("DROP TABLE customers", Delete),
        ("dRoP/**/TaBlE customers", Delete),
        ("select 1; truncate customers", Delete),
        ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", Delete),
        ("/*! DROP TABLE t */ select 1", Delete),
        ("select 'open; drop table t", Delete),
        ("ALTER TABLE t DROP COLUMN c", Delete),
        ("ALTER TABLE t ADD COLUMN c int", Write),
        ("GRANT ALL ON t TO eve", Grant),
        ("EXPLAIN SELECT 1", Read),
        ("frobnicate", Unknown),
    ] {
        assert_eq!(sql(statement), expected, "{statement}");
    }
    assert_eq!(effect("POST", "https://bq.acme.internal/query", "text/plain", "drop table x"), Delete);
    let drop = head("POST", "https://db.acme.internal/sql", &[("content-type", JSON)]);
    let action = classify(&drop, Some(br#"{"sql":"DROP TABLE IF EXISTS customers"}"#));
    assert_eq!(action.resource.as_deref(), Some("customers"));
    assert_eq!(action.summary, "DROP TABLE IF EXISTS customers at db.acme.internal");
}

#[test]
fn graphql_is_read_by_its_operations() {
    let graphql = |document: &str| {
        let body = serde_json::json!({ "query": document }).to_string();
        effect("POST", "https://api.acme.internal/graphql", JSON, &body)
    };
    for (document, expected) in [
        ("{ viewer { login } }", Read),
        ("query Q($id: ID!) { node(id: $id) { id } }", Read),
        ("mutation { createIssue(input: {}) { id } }", Write),
        ("mutation M { x: deleteIssue(input: {id: 1}) { id } }", Delete),
        ("query A { a } mutation B { removeStar { id } }", Delete),
        ("# mutation\n{ a }", Unknown),
        ("mutation { ...F } fragment F on Mutation { deleteAll }", Write),
        ("{ a ", Unknown),
        ("", Unknown),
    ] {
        assert_eq!(graphql(document), expected, "{document}");
    }
    assert_eq!(effect("POST", "https://api.acme.internal/graphql", JSON, "[]"), Unknown);
}

#[test]
fn a_body_is_asked_for_only_where_it_decides() {
    let needs = |method: &str, url: &str| needs_body(&head(method, url, &[]));
    assert!(needs("POST", "https://a.example/graphql") && needs("POST", "https://a.example/sql"));
    assert!(needs("POST", "https://ec2.amazonaws.com/"));
    assert!(!needs("GET", "https://a.example/graphql?query=x") && !needs("POST", "https://a.example/upload"));
    assert!(!needs("PUT", "https://b.s3.amazonaws.com/k") && !needs("DELETE", "https://a.example/x"));
}

proptest! {
    #[test]
    fn no_request_makes_it_panic(
        method in "[A-Z]{1,8}",
        host in "(s3|k8s|api\\.stripe\\.com|x\\.amazonaws\\.com|a)",
        target in "/[ -~]{0,40}",
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut head = head(&method, &format!("https://{host}/"), &[]);
        head.target = target;
        classify(&head, Some(&body));
        classify(&head, None);
    }
}
