//! The suites: where their files are, how they are run, and whose certificates they use.

/// A suite of tests that came with a client library.
pub(super) struct Suite {
    /// Its name, which is also its agent's.
    pub(super) name: &'static str,
    /// Its directory below the place sources were brought to.
    pub(super) source: &'static str,
    /// Arguments for pytest.
    pub(super) arguments: &'static [&'static str],
    /// PEM files of authorities its clients are told to trust.
    pub(super) authorities: &'static [&'static str],
}

/// All of them.
pub(super) const SUITES: [Suite; 3] = [
    Suite {
        name: "requests",
        source: "requests-2.32.5",
        arguments: &["tests"],
        authorities: &["tests/certs/valid/ca/ca.crt"],
    },
    Suite { name: "httpx", source: "httpx-0.28.1", arguments: &["tests"], authorities: &[] },
    Suite {
        name: "aiohttp",
        source: "aiohttp-3.12.15",
        // Without its own options, which start a process for each processor.
        arguments: &[
            "-o",
            "addopts=",
            "tests/test_client_functional.py",
            "tests/test_client_ws_functional.py",
            "tests/test_web_functional.py",
            "tests/test_web_websocket_functional.py",
        ],
        authorities: &[],
    },
];
