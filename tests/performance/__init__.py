"""A guard against slow regressions of the hot paths.

``python -m tests.performance`` drives each path through the real code and
prints what it costs, beside the budget in ``budgets.py``; ``test_budgets.py``
runs it and fails over what exceeds its limit.  What is counted is the same on
every run: instructions of Python's virtual machine, calls of C functions,
tasks, writes, bytes.  Only the CPU time is measured, in steps of a reference
loop that runs in turns with the path, so that it depends on neither the clock
nor the machine.
"""
