//! `shield login`: a link that logs a reviewer in, once.

use std::io::IsTerminal as _;
use std::path::Path;

use clap::Args;
use jiff::Timestamp;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use super::holds::{age, control};
use super::{Failure, Output, code};

/// `shield login`
#[derive(Debug, Args)]
pub(super) struct LoginArgs {
    /// Also draw the link, for a phone's camera
    #[arg(long)]
    qr: bool,
}

pub(super) fn run(config: &Path, args: &LoginArgs, output: Output) -> Result<u8, Failure> {
    let link = control(config)?.login_link()?;
    if args.qr {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        eprintln!("{}", drawn(&link.url, colours)?);
    }
    let left = age(link.expires_at.duration_since(Timestamp::now()).as_secs());
    eprintln!("This link logs one reviewer in, works once, and within {left}. Whoever has it can approve.");
    match output {
        Output::Table => println!("{}", link.url),
        Output::Json => println!("{}", serde_json::to_string_pretty(&link)?),
        Output::Jsonl => println!("{}", serde_json::to_string(&link)?),
    }
    Ok(code::OK)
}

/// The link as a QR code of half blocks. Cameras want dark on light: with colours that is said; without, a dark
/// terminal is assumed, where what is printed is light.
fn drawn(url: &str, colours: bool) -> Result<String, qrcode::types::QrError> {
    let code = QrCode::new(url)?;
    let mut renderer = code.render::<Dense1x2>();
    if !colours {
        renderer.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark);
    }
    let drawn = renderer.build();
    if !colours {
        return Ok(drawn);
    }
    let lines: Vec<String> = drawn.lines().map(|line| format!("\x1b[30;107m{line}\x1b[0m")).collect();
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_link_is_a_square_and_carries_colours_only_where_they_are_wanted() {
        let url = format!("https://shield.example/login?token={}", "x".repeat(43));
        let plain = drawn(&url, false).unwrap();
        let widths: Vec<usize> = plain.lines().map(|line| line.chars().count()).collect();
        assert!(
            widths.iter().all(|width| *width == widths[0] && width.div_ceil(2) == widths.len()),
            "{plain}"
        );
        assert!(!plain.contains('\x1b') && drawn(&url, true).unwrap().contains('\x1b'));
    }
}
