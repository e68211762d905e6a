"""What people ask of tasks: taken once, refused with the field's name, never a traceback."""

from __future__ import annotations

import pytest
from django.utils import timezone

from orchestrator.domain.naming import valid_branch
from orchestrator.models import Event, Message, Project, Task
from orchestrator.services import projects, tasks
from orchestrator.services.events import Actor
from orchestrator.services.tasks import InvalidTask, NotNow
from tests.lab import together

pytestmark = pytest.mark.django_db(transaction=True)


def _me() -> Actor:
    return Actor(name="ada", at=timezone.now())


@pytest.fixture
def project() -> Project:
    made, _ = projects.register(
        key="app", name="App", remote="/nowhere", default_branch="main", agent="command", actor=_me()
    )
    return made


def test_an_accepted_task_has_its_number_its_branch_and_one_line_of_history(project: Project) -> None:
    task, created = tasks.submit(project=project, title="  Fix\tthe  test ", actor=_me())
    assert created
    assert (str(task), task.title, task.branch) == ("app#1", "Fix the test", "app/1-fix-the-test")
    assert Event.objects.filter(task=task, kind="task.accepted", actor_name="ada").count() == 1


def test_the_same_key_again_is_the_same_task(project: Project) -> None:
    first, created = tasks.submit(project=project, title="Fix it", idempotency_key="k1", actor=_me())
    again, created_again = tasks.submit(project=project, title="Fix it", idempotency_key="k1", actor=_me())
    assert (first.pk, created, created_again) == (again.pk, True, False)


def test_the_same_key_at_the_same_moment_is_one_task(project: Project) -> None:
    def submit() -> None:
        tasks.submit(project=project, title="Fix it", idempotency_key="k1", actor=_me())

    together(*[submit for _ in range(8)])
    assert Task.objects.count() == 1


def test_tasks_that_are_submitted_at_the_same_moment_have_different_numbers(project: Project) -> None:
    def submit() -> None:
        tasks.submit(project=project, title="Fix it", actor=_me())

    together(*[submit for _ in range(8)])
    assert sorted(Task.objects.values_list("number", flat=True)) == list(range(1, 9))


@pytest.mark.parametrize(
    "title",
    [
        "a;id",
        "$(id)",
        "`id`\n--upload-pack=x",
        "'\"\\",
        "../../etc/passwd",
        "-rf",
        "\x1b[201~\r/exit",
        "ünï\u202ecødé",
        "." * 50,
        "@{-1}",
        "x" * 300,
    ],
)
def test_a_hostile_title_gives_a_branch_of_plain_letters(project: Project, title: str) -> None:
    task, _ = tasks.submit(project=project, title=title, actor=_me())
    assert valid_branch(task.branch)
    assert not set(task.title) & {"\x1b", "\r", "\n", "\u202e"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", ""),
        ("title", " \n\t"),
        ("title", "x" * 301),
        ("body", "x" * 100_001),
        ("priority", 101),
        ("agent", "hal"),
        ("depends_on", [404]),
        ("labels", [""]),
    ],
)
def test_a_bad_value_is_refused_with_its_field(project: Project, field: str, value: object) -> None:
    given = {"title": "Fix it", field: value}
    with pytest.raises(InvalidTask) as caught:
        tasks.submit(project=project, actor=_me(), **given)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert not Task.objects.exists()


def test_a_dependency_in_another_project_is_refused(project: Project) -> None:
    other, _ = projects.register(
        key="other", name="Other", remote="/elsewhere", default_branch="main", agent="command", actor=_me()
    )
    foreign, _ = tasks.submit(project=other, title="Fix it", actor=_me())
    with pytest.raises(InvalidTask, match="in the project app"):
        tasks.submit(project=project, title="Fix it", depends_on=[foreign.pk], actor=_me())


def test_a_message_with_the_same_key_is_the_same_message(project: Project) -> None:
    task, _ = tasks.submit(project=project, title="Fix it", actor=_me())

    def send() -> None:
        tasks.send(task=task, text="hello", key="k", actor=_me())

    together(*[send for _ in range(6)])
    assert Message.objects.filter(task=task).count() == 1


def test_no_control_character_of_a_message_is_kept(project: Project) -> None:
    task, _ = tasks.submit(project=project, title="Fix it", actor=_me())
    message = tasks.send(task=task, text="go \x1b[201~on\x07\u202e", actor=_me())
    assert message.text == "go on"


def test_what_cannot_be_done_now_says_what_stands_in_the_way(project: Project) -> None:
    task, _ = tasks.submit(project=project, title="Fix it", actor=_me())
    with pytest.raises(NotNow, match="waits for a host"):
        tasks.restart(task=task, actor=_me())
    with pytest.raises(NotNow, match="does not ask"):
        tasks.answer(task=task, request_id="q1", answer="yes", actor=_me())
    with pytest.raises(NotNow, match="not approved and green"):
        tasks.request_merge(task=task, actor=_me())
    tasks.cancel(task=task, actor=_me())
    tasks.cancel(task=task, actor=_me())
    with pytest.raises(NotNow, match="being cancelled"):
        tasks.send(task=task, text="wait", actor=_me())
    assert Event.objects.filter(kind="task.cancelled").count() == 1
