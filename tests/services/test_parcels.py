"""Parcels: what is handed in comes out byte by byte, and what is asked for is packed once."""

from __future__ import annotations

import secrets

import pytest
from django.utils import timezone

from orchestrator.models import Host, Job, Parcel, ParcelPiece, Project
from orchestrator.services import parcels, projects
from orchestrator.services.events import Actor

pytestmark = pytest.mark.django_db


@pytest.fixture
def host() -> Host:
    return projects.local_host(name="local", capacity=1)


@pytest.fixture
def project() -> Project:
    actor = Actor(name="ada", at=timezone.now())
    made, _ = projects.register(
        key="app", name="App", remote="/nowhere", default_branch="main", agent="command", actor=actor
    )
    return made


@pytest.mark.parametrize("size", [1, parcels.PIECE, parcels.PIECE + 1, 3 * parcels.PIECE - 1])
def test_what_was_handed_in_comes_out(host: Host, project: Project, size: int) -> None:
    data = secrets.token_bytes(size)
    assert not parcels.waits(key="publish:1:1")
    parcels.hand_in(key="publish:1:1", host=host, project=project, data=data)
    assert parcels.waits(key="publish:1:1")
    assert parcels.taken(key="publish:1:1") == data
    parcels.drop(key="publish:1:1")
    assert parcels.taken(key="publish:1:1") is None
    assert not ParcelPiece.objects.exists()


def test_what_is_handed_in_again_takes_the_place_of_what_was(host: Host, project: Project) -> None:
    parcels.hand_in(key="saved:1", host=host, project=project, data=b"x" * (2 * parcels.PIECE))
    parcels.hand_in(key="saved:1", host=host, project=project, data=b"short")
    assert parcels.taken(key="saved:1") == b"short"


def test_what_is_asked_for_again_is_one_parcel_and_one_job(host: Host, project: Project) -> None:
    asked = [
        parcels.ask(host=host, project=project, sha="a" * 40, haves=haves, now=timezone.now())
        for haves in (["b" * 40, "c" * 40], ["c" * 40, "b" * 40], [])
    ]
    assert asked[0] == asked[1] != asked[2]
    assert Job.objects.filter(verb="Pack").count() == 2


def test_a_parcel_is_filled_piece_by_piece_and_a_piece_twice_is_one(host: Host, project: Project) -> None:
    parcel = parcels.ask(host=host, project=project, sha="a" * 40, haves=[], now=timezone.now())
    parcels.fill(parcel=parcel, offset=0, data=b"one ")
    parcels.fill(parcel=parcel, offset=0, data=b"one ")
    assert parcels.filled_to(parcel) == 4
    assert parcels.taken(key=parcel.key) is None
    parcels.fill(parcel=parcel, offset=4, data=b"two")
    parcels.close(parcel=parcel, size=7)
    assert b"".join(parcels.pieces(parcel)) == b"one two"
    assert Parcel.objects.whole().count() == 1


def test_a_job_that_ended_without_filling_it_has_given_up(host: Host, project: Project) -> None:
    parcel = parcels.ask(host=host, project=project, sha="a" * 40, haves=[], now=timezone.now())
    assert not parcels.given_up(parcel)
    Job.objects.update(state="refused", settled_at=timezone.now(), error="no such commit")
    assert parcels.given_up(parcel)
    assert parcels.trouble_of(parcel) == "no such commit"
