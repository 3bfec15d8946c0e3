//! The suites: where their files are, how they are run, and whose certificates they use.

/// A suite of tests that came with a client library.
pub(super) struct Suite {
    /// Its name, which is also its agent's.
    pub(super) name: &'static str,
    /// Its directory below the place sources were brought to.
    pub(super) source: &'static str,
    /// What runs its tests, with what it is told.
    pub(super) runner: Runner,
    /// PEM files of authorities its clients are told to trust.
    pub(super) authorities: &'static [&'static str],
}

/// What runs the tests of a suite.
pub(super) enum Runner {
    /// `pytest`, with these arguments.
    Pytest(&'static [&'static str]),
    /// `mocha`, with these patterns of files.
    Mocha(&'static [&'static str]),
    /// `ava`, with these arguments.
    Ava(&'static [&'static str]),
    /// Programs that cargo built of these files in `tests`.
    Cargo(&'static [&'static str]),
}

/// All of them.
pub(super) const SUITES: [Suite; 8] = [
    Suite {
        name: "requests",
        source: "requests-2.32.5",
        runner: Runner::Pytest(&["-p", "no:asyncio", "tests"]),
        authorities: &["tests/certs/valid/ca/ca.crt"],
    },
    Suite {
        name: "httpx",
        source: "httpx-0.28.1",
        runner: Runner::Pytest(&["-p", "no:asyncio", "tests"]),
        authorities: &[],
    },
    Suite {
        name: "aiohttp",
        source: "aiohttp-3.12.15",
        // Without its own options, which start a process for each processor.
        runner: Runner::Pytest(&[
            "-p",
            "no:asyncio",
            "-o",
            "addopts=",
            "tests/test_client_functional.py",
            "tests/test_client_ws_functional.py",
            "tests/test_web_functional.py",
            "tests/test_web_websocket_functional.py",
        ]),
        authorities: &[],
    },
    Suite {
        name: "websockets",
        source: "websockets-15.0.1",
        runner: Runner::Pytest(&["-p", "no:asyncio", "tests/asyncio", "tests/sync", "tests/legacy"]),
        authorities: &["tests/test_localhost.pem"],
    },
    Suite { name: "grpclib", source: "grpclib-0.4.8", runner: Runner::Pytest(&["tests"]), authorities: &[] },
    Suite {
        name: "ws",
        source: "ws-8.18.3", // Through the gate this one leaves its server's listener to the tests after it.
        runner: Runner::Mocha(&["--invert", "--grep", "createConnection", "test/*.test.js"]),
        authorities: &[],
    },
    Suite {
        name: "got",
        source: "got-14.6.6",
        // Goes where nobody listens, and what it is told instead of a refusal ends the tests after it.
        runner: Runner::Ava(&["--match", "!works with pipeline"]),
        authorities: &[],
    },
    Suite {
        name: "reqwest",
        source: "reqwest-0.12.24",
        runner: Runner::Cargo(&[
            "client",
            "blocking",
            "brotli",
            "cookie",
            "deflate",
            "gzip",
            "multipart",
            "proxy",
            "redirect",
            "retry",
            "timeouts",
            "upgrade",
            "zstd",
        ]),
        authorities: &[],
    },
];
