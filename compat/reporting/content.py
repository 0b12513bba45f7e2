"""content.py - what the report says, as blocks. Every number comes from the suites' results.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import datetime

from reporting.blocks import (Cell, Filter, Fold, Heading, Markup, Paragraph, Pre, Section, Table, counted, number)

EXAMPLES_MAX = 3
NOTHING = Cell("–", "quiet")
CLASSES = {
    "run": "must behave as Redis 3.2 does",
    "admin": "the same, and needs the admin plane",
    "difference": "must show the documented difference",
    "refused": "must show that the command is refused",
    "waits": "waits for a part of ckv that is not there yet",
    "not-applicable": "is about Redis' own files, log or programs",
}


def verdict(evidence):
    """(state, headline, the counts)."""
    missing = " and ".join(suite.kind.title.lower() for suite in evidence.not_run)
    headline = "Everything that was run passed"
    if evidence.state == "incomplete":
        headline = "Incomplete: not run: " + missing
    elif evidence.state == "failed":
        headline = counted(evidence.count.failed, "test") + " failed" + (", and not run: " + missing if missing else "")
    count = evidence.count
    return evidence.state, headline, "%s passed, %s failed, %s skipped; %s compared" % (
        counted(count.passed, "test"), number(count.failed), number(count.skipped), counted(count.checks, "check"))


def failures(evidence):
    blocks = []
    for row in evidence.failures():
        blocks.append(Heading("%s: %s: %s" % (row.suite, row.group, row.name), "bad"))
        blocks.append(Pre(row.detail or "no further text"))
    return [Section("Failures", "failures", blocks)] if blocks else []


def outcome(count):
    """The cells passed, failed, skipped, checks and seconds."""
    return [Cell(number(count.passed), "good" if count.passed else "quiet"),
            Cell(number(count.failed), "bad" if count.failed else "quiet"),
            Cell(number(count.skipped), "" if count.skipped else "quiet"), number(count.checks),
            "%.1f" % count.seconds if count.seconds else NOTHING]


OUTCOME = ["#passed", "#failed", "#skipped", "#checks", "#~seconds"]


def when(suite):
    if suite.written is None:
        return Cell("never", "bad")
    text = datetime.datetime.fromtimestamp(suite.written, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M")
    return Cell(text + ", before this build", "warn") if suite.outdated else text


def suites(evidence):
    rows = []
    for suite in evidence.suites:
        kind = suite.kind
        told = outcome(suite.count) if suite.was_run else [Cell("NOT RUN", "bad"), *[NOTHING] * 4]
        rows.append([Markup("**%s**" % kind.title), kind.what, *told, when(suite)])
    blocks = [Table(["suite", "~what it compares", *OUTCOME, "~run at (UTC)"], rows)]
    for suite in evidence.not_run:
        blocks.append(Paragraph("The %s suite was not run: %s." % (suite.name, suite.why_not), "bad"))
    blocks.append(Paragraph("A test is a test of the upstream suite or of Sentinel, a case of a transcript, a command "
                            "in the differential run, or a check of a client. Checks are the assertions, replies and "
                            "steps that were compared in them."))
    for suite in evidence.suites:
        if suite.was_run:
            blocks += suite_parts(suite)
    return [Section("Suites", "suites", blocks)]


def suite_parts(suite):
    blocks = []
    classes = suite.by(lambda row: row.kind)
    if len(classes) > 1:
        blocks.append(Heading("%s by class" % suite.kind.title))
        blocks.append(Table(["class", "~what its tests must do", *OUTCOME],
                            [[Markup("`%s`" % kind), CLASSES[kind], *outcome(classes[kind])] for kind in CLASSES
                             if kind in classes]))
    groups = suite.by(lambda row: row.group)
    rows = [[group, *outcome(count)] for group, count in groups.items()]
    blocks.append(Fold("%s by %s (%d)" % (suite.kind.title, suite.kind.group, len(groups)),
                       [Table([suite.kind.group, *OUTCOME], rows)]))
    return blocks


def tally(suite, outcomes):
    """A command's cell for a suite."""
    if not suite.was_run:
        return Cell("not run", "bad")
    passed, failed = outcomes.get(suite.name, (0, 0))
    if failed:
        return Cell("%s, %s failed" % (number(passed), number(failed)), "bad")
    return Cell(number(passed)) if passed else NOTHING


def matrix(evidence):
    found = evidence.by_command()
    supported = [command for command in evidence.commands if command.plane != "refused"]
    idle = [command.name.upper() for command in supported if not found.get(command.name)]
    service = [command for command in supported if command.plane == "service"]
    blocks = [Paragraph("The %d commands of the contract and the %d of the admin plane, and how much that sent them "
                        "passed." % (len(service), len(supported) - len(service)))]
    if idle:
        names = ", ".join("`%s`" % name for name in idle)
        blocks.append(Paragraph(Markup("**Never exercised in this run:** %s." % names), "warn"))
    else:
        blocks.append(Paragraph("Every one of them was exercised in this run.", "good"))
    blocks.append(Filter("Filter commands"))
    head = ["command", "~what it does"] + ["#" + suite.kind.column for suite in evidence.suites]
    families = {}
    for command in supported:
        families.setdefault(command.family, []).append(command)
    for family, commands in sorted(families.items(), key=lambda item: (item[0] == "Admin plane", item[0])):
        rows = []
        for command in sorted(commands):
            tone = "" if found.get(command.name) else "warn"
            rows.append([Cell(Markup("`%s`" % command.name.upper()), tone), command.summary] +
                        [tally(suite, found.get(command.name, {})) for suite in evidence.suites])
        blocks += [Heading("%s (%d)" % (family, len(commands))), Table(head, rows)]
    return [Section("The matrix, command by command", "matrix", blocks)]


def examples(rows):
    """Where something showed: its first rows, and how many more."""
    shown = ["%s %s: %s" % (row.suite, row.group, row.name) for row in rows[:EXAMPLES_MAX]]
    if len(rows) > EXAMPLES_MAX:
        shown.append("and %d more" % (len(rows) - EXAMPLES_MAX))
    return "; ".join(shown)


def difference_list(evidence):
    found = evidence.by_difference()
    rows = []
    for name, difference in evidence.differences.items():
        seen = found[name]
        where = Cell(examples(seen)) if seen else Cell("not met in this run", "quiet")
        rows.append([Markup("`%s`" % name), Markup("**%s** %s" % (difference.title, difference.explanation)),
                     Cell(number(len(seen)), "" if seen else "quiet"), where])
    return [Section("Differences from Redis 3.2", "differences", [
        Paragraph("What the contract, or good sense, makes different, and where this run saw that it is so. A test "
                  "that is due to show a difference fails when it does not."),
        Table(["~id", "difference", "#seen", "~where"], rows)])]


def refused(evidence):
    rows = []
    for name, seen in sorted(evidence.by_refusal().items()):
        rows.append([Markup("`%s`" % name.upper()), Cell(number(len(seen)), "" if seen else "quiet"),
                     Cell(examples(seen)) if seen else Cell("no test of this run sends it", "quiet")])
    return [Section("Refused commands", "refused", [
        Paragraph("Commands of Redis 3.2 that the contract lacks. A test of one passes when it shows the refusal."),
        Table(["command", "#tests", "where"], rows)])]


def reasons(title, anchor, text, found):
    """A section for tests that were skipped, by their reasons; none without such tests."""
    if not found:
        return []
    total = sum(map(len, found.values()))
    rows = [[reason, number(len(tests)), ", ".join(dict.fromkeys("%s %s" % (row.suite, row.group) for row in tests))]
            for reason, tests in sorted(found.items())]
    listing = Fold("All %s" % counted(total, "test"), [Table(["test", "reason"], [
        ["%s %s: %s" % (row.suite, row.group, row.name), reason] for reason, tests in sorted(found.items())
        for row in tests])])
    return [Section("%s (%d)" % (title, total), anchor, [Paragraph(text), Table(["reason", "#tests", "~where"], rows),
                                                         listing])]


def build(evidence):
    """The report's sections."""
    return (failures(evidence) + suites(evidence) + matrix(evidence) + difference_list(evidence) + refused(evidence) +
            reasons("Tests that wait", "waits", "For parts of ckv that are being built; they will be run then.",
                    evidence.skipped("waits")) +
            reasons("Not applicable", "not-applicable", "Tests of Redis' own files, log texts and programs, which ckv "
                    "does not have.", evidence.skipped("not-applicable")) +
            reasons("Skipped", "skipped", "Tests that were due and could not be run here.", evidence.skipped(None)))
