"""
The benchmark: every promise about speed, measured against `ProcessPoolExecutor` in the same run.

    python -m tests.bench            __main__   the command line
      │ each workload, contender, round
      ▼
    measure                          alternates the contenders, keeps every sample
      │ one fresh process a sample
      ▼
    probe → workloads/*              opens the contender's pool, warms it, takes the time
      │
      ▼
    goals → report                   ratio and verdict of each row; table, JSON, markdown

To add a row: write a `Workload` in `workloads/`, and name it in `workloads/__init__.py`.
To add a pool to compare with: add a `Contender` to `contenders.py`.
Nothing here fails because of a time: a missed goal is a row of the table.
"""
