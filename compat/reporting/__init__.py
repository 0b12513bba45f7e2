"""reporting - what compat/report.py is made of: what the runs found (evidence), what is said about it (content), and
how it is written (markdown, page, junit).

SPDX-License-Identifier: GPL-3.0-or-later
"""
