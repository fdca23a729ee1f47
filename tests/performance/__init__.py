"""A guard against slow regressions of the hot paths.

``python -m tests.performance`` drives each path through the real code and
prints what it costs, beside the budget in ``budgets.json``; ``test_budgets.py``
runs it and fails over what exceeds its limit.  What is counted is almost the
same on every run: instructions of Python's virtual machine, calls of C
functions, tasks, writes, bytes.  CPU time is measured, and differs from run to
run: it is told in steps of a reference loop that takes turns with the path, so
that it depends little on the machine and on what else that does.
"""
