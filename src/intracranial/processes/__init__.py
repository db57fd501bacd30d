"""Many processes: workers that may die, and ranks of a launcher that share the series of a run.

In: functions to call and the series to share out. Out: results, or the reason why there is none.
Enter at `pool.WorkerPool` (workers of this program) or `team.Team` (processes of torchrun or srun).
It knows no series, pixel or network: what is computed is the caller's.
"""
