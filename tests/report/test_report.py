#!/usr/bin/env python3
"""test_report.py - the report and what it is made from: result tables, differences, counts, and the three forms.

  tests/report/test_report.py

The last line is `N passed, N failed, N skipped`.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import html.parser
import os
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ET

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "compat"))
import differences  # noqa: E402
import results  # noqa: E402
import target  # noqa: E402
from reporting import blocks, content, evidence, junit, markdown, page  # noqa: E402
from results import Row  # noqa: E402

MATRIX = ("name\tfamily\tplane\tarity\tflags\tsummary\n"
          "get\tStrings\tservice\t2\treadonly fast\tAnswers the string\n"
          "set\tStrings\tservice\t-3\twrite\tStores a string\n"
          "config\tAdmin plane\tadmin\t-2\tadmin\tShows options\n"
          "eval\tAdmin plane\trefused\t-3\t\t\n")
# What tests of odd bytes can put into a name or a failure.
ODD = "a\x00b\x1b[31m|`<b>&\"'\r\n]]>\ud800\ufffe \u00e9 *x* @STYLE@"
UPSTREAM = [
    Row("upstream", "unit/string", "SET and GET", checks=5, seconds=0.5, commands="get set"),
    Row("upstream", "unit/auth", "AUTH", "difference", detail="auth-form", commands="set"),
    Row("upstream", "unit/eval", "EVAL works", "refused", checks=1, detail="refuses eval"),
    Row("upstream", "unit/aof", "reload", "waits", "skipped", detail="waits for persistence: save"),
    Row("upstream", "unit/log", "log text", "not-applicable", "skipped", detail="Redis' log"),
]
TRANSCRIPTS = [Row("transcripts", "strings/get", "get", checks=7, commands="get*4 set*3")]


def made(**rows):
    """An Evidence of these suites; a suite without rows has no table."""
    table = {"auth-form": differences.Difference("auth-form", "AUTH", "takes `id:password` only."),
             "refused-command": differences.Difference("refused-command", "others", "are refused."),
             "unmet": differences.Difference("unmet", "Something", "else.")}
    suites = [evidence.Suite(name, found, None if found is None else 1700000000.0) for name, found in rows.items()]
    return evidence.Evidence(suites, evidence.parse_matrix(MATRIX), table, [("server", "ckv | 1")])


def failed(**fields):
    return Row("upstream", "unit/odd", ODD, status="failed", detail=ODD, commands="get")._replace(**fields)


class TablesTest(unittest.TestCase):
    def test_round_trip(self):
        row = Row("clients", "tab\there", "back\\slash \\t", "run", "failed", 3, 0.25, "get*2", "two\nlines\r")
        with tempfile.TemporaryDirectory() as folder:
            path = results.write(folder, "clients", [row])
            self.assertEqual(results.read(path), [row])

    def test_odd_bytes_can_be_written(self):
        with tempfile.TemporaryDirectory() as folder:
            read = results.read(results.write(folder, "upstream", [failed()]))
        self.assertEqual(len(read), 1)
        self.assertIn("\\ud800", read[0].detail)

    def test_malformed(self):
        good = "\t".join(("upstream", "g", "n", "run", "passed", "1", "0", "get", ""))
        header = "\t".join(results.COLUMNS)
        for text, said in (("nonsense\n", "header"), (header + "\n" + good, "cut off"), (header + "\nx\n", "fields"),
                           (header + "\n" + good.replace("passed", "fine") + "\n", "fine"),
                           (header + "\n" + good.replace("run", "walk") + "\n", "walk"),
                           (header + "\n" + good.replace("1", "one") + "\n", "one")):
            with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
                file.write(text)
                file.flush()
                with self.assertRaisesRegex(results.Malformed, said):
                    results.read(file.name)

    def test_commands(self):
        self.assertEqual(results.commands_of(TRANSCRIPTS[0]), {"get": 4, "set": 3})
        self.assertEqual(results.commands_of(UPSTREAM[0]), {"get": 5, "set": 5})

    def test_differences(self):
        self.assertIn("pttl-seconds", differences.load())
        for text, said in (("id\n", "header"), ("id\ttitle\texplanation\na\tb\n", ":2: not 3"),
                           ("id\ttitle\texplanation\na\tb\tc\na\tb\tc\n", "twice")):
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(text)
                file.flush()
                with self.assertRaisesRegex(ValueError, said):
                    differences.load(file.name)

    def test_target_address(self):
        self.assertEqual(target.parse("db.example:6380"), ("db.example", 6380))
        self.assertEqual(target.parse("[::1]:6379"), ("::1", 6379))
        self.assertEqual(target.parse(":7"), ("127.0.0.1", 7))


class EvidenceTest(unittest.TestCase):
    def test_state(self):
        self.assertEqual(made(upstream=UPSTREAM, transcripts=TRANSCRIPTS).state, "passed")
        self.assertEqual(made(upstream=UPSTREAM, transcripts=None).state, "incomplete")
        self.assertEqual(made(upstream=UPSTREAM + [failed()], transcripts=None).state, "failed")

    def test_a_suite_that_only_skipped_was_not_run(self):
        skipped = [Row("upstream", "-", "the upstream suite", "not-applicable", "skipped", detail="no network")]
        found = made(upstream=skipped)
        self.assertEqual(found.state, "incomplete")
        self.assertEqual(found.not_run[0].why_not, "no network")

    def test_counts(self):
        count = made(upstream=UPSTREAM + [failed()], transcripts=TRANSCRIPTS).count
        self.assertEqual((count.passed, count.failed, count.skipped, count.checks), (4, 1, 2, 13))

    def test_by_command(self):
        found = made(upstream=UPSTREAM + [failed()], transcripts=TRANSCRIPTS).by_command()
        self.assertEqual(found["get"], {"upstream": [1, 1], "transcripts": [4, 0]})
        self.assertEqual(found["set"], {"upstream": [2, 0], "transcripts": [3, 0]})
        self.assertNotIn("config", found)

    def test_differences_and_refusals(self):
        found = made(upstream=UPSTREAM)
        self.assertEqual(found.by_difference(), {"auth-form": [UPSTREAM[1]], "refused-command": [UPSTREAM[2]],
                                                 "unmet": []})
        self.assertEqual(found.by_refusal(), {"eval": [UPSTREAM[2]]})

    def test_reasons(self):
        found = made(upstream=UPSTREAM + [failed(status="skipped", detail="no port")])
        self.assertEqual(list(found.skipped("waits")), ["waits for persistence: save"])
        self.assertEqual(list(found.skipped(None)), ["no port"])

    def test_outdated(self):
        with tempfile.TemporaryDirectory() as folder:
            path = results.write(folder, "upstream", UPSTREAM)
            os.utime(path, (1000, 1000))
            self.assertTrue(evidence.load_suite(folder, "upstream", 2000).outdated)
            self.assertFalse(evidence.load_suite(folder, "upstream", 500).outdated)
            self.assertIsNone(evidence.load_suite(folder, "clients", 500).rows)


class Checker(html.parser.HTMLParser):
    """Checks that tags are closed in order, that ids are unique, and collects the text."""
    VOID = {"meta", "input", "br"}

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.text = [], set(), set(), []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        assert not attrs.keys() & {"src"} and tag != "link", "the page needs something beside it"
        if "id" in attrs:
            assert attrs["id"] not in self.ids
            self.ids.add(attrs["id"])
        if "href" in attrs:
            self.links.add(attrs["href"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, "</%s>" % tag

    def handle_data(self, data):
        self.text.append(data)


class FormsTest(unittest.TestCase):
    def setUp(self):
        self.bad = made(upstream=UPSTREAM + [failed()], transcripts=TRANSCRIPTS, clients=None)

    def test_junit(self):
        text = junit.render(self.bad)
        self.assertIsNone(re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe]", text))
        root = ET.fromstring(text.encode())
        self.assertEqual(root.tag, "testsuites")
        counted = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
        for suite in root:
            self.assertEqual(suite.tag, "testsuite")
            cases = suite.findall("testcase")
            self.assertEqual(int(suite.get("tests")), len(cases))
            for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
                self.assertEqual(int(suite.get(name)), len(suite.findall("testcase/" + tag)))
            for name in counted:
                counted[name] += int(suite.get(name))
            for case in cases:
                self.assertTrue(case.get("name") and case.get("classname"))
                float(case.get("time"))
        for name, value in counted.items():
            self.assertEqual(int(root.get(name)), value, name)
        self.assertEqual(counted, {"tests": 8, "failures": 1, "errors": 1, "skipped": 2})
        self.assertIn("a\\x00b\\x1b[31m", root.find("testsuite/testcase/failure").text)

    def test_page(self):
        checker = Checker()
        checker.feed(page.render(self.bad))
        self.assertEqual(checker.open, [])
        self.assertEqual({link[1:] for link in checker.links} - checker.ids, set())
        text = "".join(checker.text)
        self.assertIn("1 test failed, and not run: clients", text)
        self.assertIn("a\\x00b\\x1b[31m|`<b>&\"'\n]]>\\ud800\\ufffe \u00e9 *x* @STYLE@", text)
        self.assertIn("Never exercised in this run: CONFIG", text)

    def test_markdown(self):
        text = markdown.render(self.bad)
        self.assertTrue(text.startswith("# Compatibility report\n\n❌ **1 test failed, and not run: clients.** 4"))
        self.assertLess(text.index("## Failures"), text.index("## Suites"))
        self.assertIn("NOT RUN", text)
        self.assertIn("ckv \\| 1", text)
        for line in text.splitlines():
            if line.startswith("| `GET`"):
                self.assertEqual(line, "| `GET` | Answers the string | ❌ 1, 1 failed | 4 | ❌ not run |")
                break
        else:
            self.fail("there is no line for GET")

    def test_tables_keep_their_columns(self):
        row = failed(status="skipped", detail="a | b\n`c | d`")
        lines = markdown.render(made(upstream=UPSTREAM + [row])).splitlines()
        columns = [len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("|")]
        heads = [n for n, line in enumerate(lines) if line.startswith("| ---")]
        self.assertTrue(heads and all(count >= 3 for count in columns))
        for n in heads:
            end = n
            while end < len(lines) and lines[end].startswith("|"):
                self.assertEqual(len(re.findall(r"(?<!\\)\|", lines[end])), lines[n].count("|"), lines[end])
                end += 1

    def test_passed(self):
        good = made(upstream=UPSTREAM, transcripts=TRANSCRIPTS)
        self.assertEqual(content.verdict(good)[:2], ("passed", "Everything that was run passed"))
        self.assertNotIn("Failures", page.render(good))
        self.assertNotIn("Failures", markdown.render(good))
        self.assertNotIn("<failure", junit.render(good))

    def test_inline(self):
        self.assertEqual(blocks.inline("**a** `b`"), [("plain", "**a** `b`")])
        self.assertEqual(blocks.inline(blocks.Markup("**a** `b*`")), [("bold", "a"), ("plain", " "), ("code", "b*")])


class ProgramTest(unittest.TestCase):
    """compat/report.py itself, with a stand-in for the program that prints the matrix."""

    def run_report(self, tables, *options):
        with tempfile.TemporaryDirectory() as folder:
            matrix = os.path.join(folder, "matrix")
            with open(matrix, "w", encoding="utf-8") as f:
                f.write("#!/bin/sh\ncat <<'end'\n%send\n" % MATRIX)
            os.chmod(matrix, 0o755)
            for name, rows in tables.items():
                results.write(folder, name, rows)
            run = subprocess.run(
                [sys.executable, os.path.join(ROOT, "compat", "report.py"), "--results", folder, "--out", folder,
                 "--ckv", os.path.join(folder, "ckv"), "--matrix", matrix, *options],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            return run.returncode, run.stdout.splitlines()[-1:], run.stderr, set(os.listdir(folder))

    def test_passed(self):
        status, last, _, files = self.run_report({"transcripts": TRANSCRIPTS}, "--suites", "transcripts")
        self.assertEqual((status, last), (0, ["1 passed, 0 failed, 0 skipped"]))
        self.assertLessEqual({"REPORT.md", "report.html", "report.xml"}, files)

    def test_failed(self):
        status, last, _, _ = self.run_report({"upstream": UPSTREAM + [failed()]}, "--suites", "upstream")
        self.assertEqual((status, last), (1, ["3 passed, 1 failed, 2 skipped"]))

    def test_not_run(self):
        status, last, _, _ = self.run_report({"transcripts": TRANSCRIPTS})
        self.assertEqual((status, last), (2, ["1 passed, 0 failed, 0 skipped"]))

    def test_usage(self):
        status, _, errors, _ = self.run_report({}, "--suites", "nonsense")
        self.assertEqual(status, 2)
        self.assertIn("there is no suite nonsense", errors)
        status, _, errors, _ = self.run_report({}, "--matrix", "/nonexistent")
        self.assertEqual(status, 2)
        self.assertIn("/nonexistent does not tell the matrix", errors)


def main():
    run = unittest.main(exit=False).result
    bad = len(run.failures) + len(run.errors)
    print("%d passed, %d failed, %d skipped" % (run.testsRun - bad - len(run.skipped), bad, len(run.skipped)))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
