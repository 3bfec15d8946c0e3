//! QUIC
use anyhow::Result;
use shield_tests::client::{Clients, python};
use shield_tests::deployment::{Deployment, Settings};

#[test]
fn probe() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let clients = Clients::install(&deployment)?;
    std::fs::write(clients.place("quic.py"), include_str!("quic.py"))?;
    let script = clients.place("quic.py").display().to_string();
    let py = python();
    for (a, b) in [("aioquic", "crm.acme.internal"), ("curl-h3", "https://crm.acme.internal/x"), ("curl-h3-only", "https://crm.acme.internal/x")] {
        let out = clients.agent(&deployment, "q", &[&py, &script, a, b]).output()?;
        println!("{a}: {}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    }
    for dns in ["chromium"] {
        let home = deployment.dir().join("home");
        std::fs::create_dir(&home)?;
        let t = std::time::Instant::now();
        std::process::Command::new("chown").arg("nobody").arg(&home).status()?;
        let mut c = clients.agent(&deployment, "q", &[dns, "--headless", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors", "--enable-quic", "--origin-to-force-quic-on=crm.acme.internal:443", "--user-data-dir=profile", "--dump-dom", "https://crm.acme.internal/page"]);
        c.current_dir(&home).env("HOME", &home);
        let out = c.output()?;
        println!("{dns}: {:?} {}\n{}", t.elapsed(), String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    }
    println!("{}", deployment.daemon.log());
    Ok(())
}
