//! Plain HTTP, where nothing but our resolver says who is at the other end.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use shield_tests::deployment::{Deployment, Settings, output};

// T1.
#[test]
fn plain_http_goes_only_where_its_host_is() -> Result<()> {
    let deployment = Deployment::start(Settings { policy: "version: 1".into(), ..Settings::default() })?;
    let by_name = "http://crm.acme.internal/page".to_owned();
    let by_address = format!("http://{}/page", deployment.origin.address);
    let asking = |host: &str, url: &str| -> Result<String> {
        let mut agent = deployment.agent("bot", &["curl", "-sS", "-w", " %{http_code}", "-H", host, url]);
        let told = output(agent.stdin(Stdio::null()));
        let told = told.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))?;
        Ok(String::from_utf8(told.stdout)?)
    };
    let usual = "Accept: */*";
    // The gate asks where the last one is: the program never did.
    for (host, url) in [(usual, &by_name), (usual, &by_address), ("Host: api.acme.internal", &by_address)] {
        let told = asking(host, url)?;
        ensure!(told.ends_with(" 200"), "{host} {url}: {told}");
    }
    for host in ["Host: nowhere.example", "Host: 192.0.2.7"] {
        let told = asking(host, &by_address)?;
        ensure!(told.ends_with(" 421") && told.contains("nothing says that"), "{host}: {told}");
    }
    let arrived = deployment.origin.ledger.of("GET", "/page").len();
    ensure!(arrived == 3, "{arrived} arrived");
    Ok(())
}
