"""The one thread that runs the model: what waits when it is free is answered in one pass.

Requests that may be answered together (the same model, the same tables given) share one alignment
and one forward pass, each over its own rows. If one of them is wrong, each is asked again alone, so
that every client is told of its own rows only.
"""

import queue
import threading
import warnings
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from typing import NamedTuple

import duckdb
import pyarrow as pa

from nexus_model.schema import NexusError
from nexus_model.serve.explanation import Explanation, explain_samples
from nexus_model.serve.flags import late_flags, question_flags, sample_flags
from nexus_model.serve.reading import Question, Read
from nexus_pipeline.serving.kept import KeptQuestion
from nexus_pipeline.serving.live_model import Loaded
from nexus_pipeline.serving.metrics import ServingMetrics
from nexus_pipeline.serving.problems import ProblemError, problem_of
from nexus_pipeline.serving.settings import ServeSettings

# A request may fail in any of these ways; the thread goes on, and its client is told.
_FAILURES = (
    NexusError, duckdb.Error, pa.ArrowException, ArithmeticError, AttributeError, LookupError,
    MemoryError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


class Answer(NamedTuple):
    """Predictions with keys, flags of the request and of each entity, explanations if asked."""

    table: pa.Table
    flags: list[str]
    sample_flags: list[list[str]]
    explanations: list[Explanation]


class Job(NamedTuple):
    """One request on its way through the model; those of one ``group`` may go together."""

    model: Loaded
    question: Question | KeptQuestion
    explain: bool
    group: Hashable
    future: "Future[Answer]"


class Engine:
    """Takes jobs from any thread and answers them in one."""

    def __init__(self, settings: ServeSettings, metrics: ServingMetrics) -> None:
        self.settings, self.metrics = settings, metrics
        self._jobs: queue.Queue[Job | None] = queue.Queue(settings.most_waiting)
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what waits, then end."""
        self._jobs.put(None)
        self._thread.join(timeout=self.settings.drain_s)

    @property
    def lives(self) -> bool:
        """Whether the model's thread runs."""
        return self._thread.is_alive()

    def submit(
        self, model: Loaded, question: Question | KeptQuestion, *, explain: bool
    ) -> "Future[Answer]":
        """The future answer.

        Raises:
            ProblemError: too many requests wait already.
        """
        if not self.lives:
            raise ProblemError("not_ready", "the model does not run")
        group = None if explain else _group_of(model, question)
        job = Job(model, question, explain, group, Future())
        try:
            self._jobs.put_nowait(job)
        except queue.Full as error:
            raise ProblemError("busy", "too many requests are waiting; try again") from error
        return job.future

    def _run(self) -> None:
        import torch

        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        while (first := self._jobs.get()) is not None:
            waiting, ended = self._take(first)
            for group in _groups(waiting):
                self._answer_group(group)
            if ended:
                return

    def _take(self, first: Job) -> tuple[list[Job], bool]:
        """What waits now, of requests whose client does, and whether the end was among it."""
        taken = [first]
        ended = False
        while len(taken) < self.settings.most_together and not ended:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            ended = job is None
            taken += [] if job is None else [job]
        return [job for job in taken if job.future.set_running_or_notify_cancel()], ended

    def _answer_group(self, group: Sequence[Job]) -> None:
        try:
            with self._limited(group[0].model):
                answers = answer_jobs(group)
        except _FAILURES as error:
            if len(group) > 1:
                for job in group:
                    self._answer_group([job])
            else:
                _fail(group[0].future, error)
            return
        self.metrics.together.observe(len(group))
        for job, answer in zip(group, answers, strict=True):
            _finish(job.future, answer)

    @contextmanager
    def _limited(self, model: Loaded) -> Iterator[None]:
        """Stop the database where SQL runs for longer than any client waits."""
        timer = threading.Timer(self.settings.timeout_s, model.predictor.staged.interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _group_of(model: Loaded, question: Question | KeptQuestion) -> Hashable | None:
    if isinstance(question, KeptQuestion):
        alone = model.predictor.reads_cohorts
        return None if alone else (id(model), id(question.resident))
    together = model.predictor.together(question)
    return None if together is None else (id(model), together)


def _groups(waiting: Sequence[Job]) -> list[list[Job]]:
    groups: dict[Hashable, list[Job]] = {}
    for job in waiting:
        groups.setdefault(id(job) if job.group is None else job.group, []).append(job)
    return list(groups.values())


def answer_jobs(group: Sequence[Job]) -> list[Answer]:
    """The answers of jobs that may be answered together, in their order.

    Raises:
        NexusError: the rows of one of them are wrong.
    """
    predictor = group[0].model.predictor
    recipe, tokenizer = predictor.artifact.recipe, predictor.artifact.tokenizer
    read, told = _read(group)
    tables = predictor.answers_of(read)
    flags = sample_flags(recipe, tokenizer, read)
    explanations: list[Explanation] = []
    if group[0].explain:
        explanations = explain_samples(predictor.model, recipe, tokenizer, read)
    return [
        Answer(
            table,
            own,
            flags[read.starts[place] : read.starts[place + 1]],
            explanations,
        )
        for place, (table, own) in enumerate(zip(tables, told, strict=True))
    ]


def _read(group: Sequence[Job]) -> tuple[Read, list[list[str]]]:
    """All samples of a group, and the flags of each of its requests."""
    predictor = group[0].model.predictor
    recipe = predictor.artifact.recipe
    kept = [job.question for job in group if isinstance(job.question, KeptQuestion)]
    if kept:
        resident = kept[0].resident
        missing = [f"table_missing:{name}" for name in sorted(resident.absent)]
        read = resident.read([question.named for question in kept])
        return read, [missing + ["no_entities"] * (len(q.named.keys) == 0) for q in kept]
    sent = [job.question for job in group if isinstance(job.question, Question)]
    read = predictor.read_several(sent)
    late = late_flags(recipe, read, sent)
    return read, [question_flags(recipe, q) + own for q, own in zip(sent, late, strict=True)]


def _fail(future: "Future[Answer]", error: BaseException) -> None:
    if isinstance(error, NexusError):
        error = problem_of(error)
    elif isinstance(error, duckdb.InterruptException):
        error = ProblemError("too_slow", "the rows took too long to align")
    elif isinstance(error, duckdb.Error | ArithmeticError):
        error = ProblemError("bad_data", "the rows cannot be aligned")
    # The client may have gone.
    with suppress(InvalidStateError):
        future.set_exception(error)


def _finish(future: "Future[Answer]", answer: Answer) -> None:
    # The client may have gone.
    with suppress(InvalidStateError):
        future.set_result(answer)
