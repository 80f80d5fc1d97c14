"""How long a run takes on a number of cores: its longest chain of jobs, and its jobs placed one after the other."""

import heapq
from collections import deque
from typing import NamedTuple


class Wall(NamedTuple):
    """Seconds. chain: of the longest chain of jobs that wait for each other, what the run takes on any number of cores.

    busy: if all cores always had work. placed: with each job started as soon as what it waits for is done and cores
    are free.
    """

    chain: float
    busy: float
    placed: float


def schedule(jobs, seconds, cores):
    """Wall of a list of jobs.Job. seconds: wall seconds of each, in the same order. cores: at least 1."""
    waits = _waits(jobs)
    threads = [min(job.threads, cores) for job in jobs]
    busy = sum(one * taken for one, taken in zip(threads, seconds, strict=True)) / cores
    # With a core for every thread nothing but the jobs before it holds up a job.
    return Wall(_place(waits, threads, seconds, sum(threads)), busy, _place(waits, threads, seconds, cores))


def _waits(jobs):
    """For each job the numbers of those whose outputs it reads."""
    makers = {path: number for number, job in enumerate(jobs) for path in job.outputs}
    return [{makers[path] for path in job.inputs if path in makers} - {number} for number, job in enumerate(jobs)]


def _place(waits, threads, seconds, cores):
    """Time at which the last job ends."""
    followers = [[] for _ in waits]
    for number, before in enumerate(waits):
        for one in before:
            followers[one].append(number)
    missing = [len(before) for before in waits]
    ready = {}  # threads -> jobs that wait for cores only
    for number, left in enumerate(missing):
        if not left:
            ready.setdefault(threads[number], deque()).append(number)
    running, now, free = [], 0.0, cores
    while running or any(ready.values()):
        for wanted in sorted(ready, reverse=True):
            while ready[wanted] and wanted <= free:
                number = ready[wanted].popleft()
                free -= wanted
                heapq.heappush(running, (now + seconds[number], number))
        now, number = heapq.heappop(running)
        free += threads[number]
        for one in followers[number]:
            missing[one] -= 1
            if not missing[one]:
                ready.setdefault(threads[one], deque()).append(one)
    return now
