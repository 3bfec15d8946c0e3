"""Run by pytest beside a suite: writes one line a test, and has certificates signed by the authority the run knows.

It never changes what a test does: a client that is told to trust that authority is told to trust the gate's beside it.
"""

import os
import sys

import pytest

REPORT = os.environ["SUITE_REPORT"]
AUTHORITY = os.environ["SUITE_AUTHORITY"]
GATE = os.environ.get("SUITE_GATE")


def pytest_configure(config):
    config.suite_outcomes = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    outcomes = item.config.suite_outcomes
    if report.failed:
        outcomes[report.nodeid] = "failed"
    elif report.skipped:
        outcomes.setdefault(report.nodeid, "skipped")
    elif report.when == "call":
        outcomes.setdefault(report.nodeid, "passed")


def pytest_sessionfinish(session):
    with open(REPORT, "w") as file:
        for test, outcome in session.config.suite_outcomes.items():
            print(outcome, test.encode("unicode_escape").decode(), file=file)


def sign_by_known_authority():
    """Authorities a suite's fixtures make are the known one; those its tests make are there not to be trusted."""
    import trustme

    with open(AUTHORITY, "rb") as file:
        certificate, _, key = file.read().partition(b"-----BEGIN PRIVATE KEY")
    known = trustme.CA.from_pem(certificate, b"-----BEGIN PRIVATE KEY" + key)
    trusted = certificate
    if GATE:
        with open(GATE, "rb") as file:
            trusted += file.read()
    init, own_pem = trustme.CA.__init__, trustme.CA.cert_pem.fget

    def known_or_new(self, *arguments, **options):
        init(self, *arguments, **options)
        if not arguments and sys._getframe(1).f_code.co_filename.endswith("conftest.py"):
            vars(self).update(vars(known))

    def pem(self):
        return trustme.Blob(trusted) if self._private_key is known._private_key else own_pem(self)

    trustme.CA.__init__ = known_or_new
    trustme.CA.cert_pem = property(pem)


sign_by_known_authority()
