"""junit.py - the report as JUnit XML, for CI systems: a testsuite for each group of a suite, a testcase for each test.
A suite that was due and was not run is a testcase with an error.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import datetime
import xml.etree.ElementTree as ET

from reporting.blocks import visible
from reporting.evidence import Count

TEXT_MAX = 20000


def attributes(count, errors=0):
    return {"tests": str(count.total + errors), "failures": str(count.failed), "errors": str(errors),
            "skipped": str(count.skipped), "time": "%.3f" % count.seconds}


def add_case(parent, row):
    case = ET.SubElement(parent, "testcase", name=visible(row.name), time="%.3f" % row.seconds,
                         classname=visible("%s.%s" % (row.suite, row.group)))
    detail = visible(row.detail)[:TEXT_MAX]
    if row.status == "failed":
        first = detail.split("\n", 1)[0][:300]
        ET.SubElement(case, "failure", message=first or "failed", type=row.kind).text = detail
    elif row.status == "skipped":
        ET.SubElement(case, "skipped", message="%s: %s" % (row.kind, detail) if detail else row.kind)


def add_suite(root, suite):
    when = {}
    if suite.written is not None:
        moment = datetime.datetime.fromtimestamp(suite.written, datetime.timezone.utc)
        when = {"timestamp": moment.strftime("%Y-%m-%dT%H:%M:%S")}
    if not suite.was_run:
        parent = ET.SubElement(root, "testsuite", name=suite.name, **attributes(Count(), 1), **when)
        case = ET.SubElement(parent, "testcase", name="the suite is run", classname=suite.name, time="0.000")
        ET.SubElement(case, "error", message="not run: " + visible(suite.why_not), type="not-run")
        return
    groups = {}
    for row in suite.rows:
        groups.setdefault(row.group, []).append(row)
    for group, rows in groups.items():
        name = visible("%s.%s" % (suite.name, group))
        parent = ET.SubElement(root, "testsuite", name=name, **attributes(Count(rows)), **when)
        for row in rows:
            add_case(parent, row)


def render(evidence):
    count = Count(row for suite in evidence.suites if suite.was_run for row in suite.rows)
    root = ET.Element("testsuites", name="ckv compatibility", **attributes(count, len(evidence.not_run)))
    for suite in evidence.suites:
        add_suite(root, suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
