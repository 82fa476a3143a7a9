"""Face unlock: enroll people, then know them.

A detector finds the face and five landmarks, a similarity brings these onto a template, an
embedder turns the picture into a vector, and two vectors are one person's where their cosine
is high enough. docs/face_unlock.md tells how the models are made and where the thresholds
are from.
"""

from __future__ import annotations

from edgekit.apps.app import Action, App
from edgekit.apps.face_unlock import align, check, enroll, measure, people, run

APP = App(
    actions={
        "enroll": Action(
            "add a person, from pictures or a camera", enroll.configure, enroll.run, enroll.EXAMPLE
        ),
        "run": Action("watch a camera or a video, and unlock", run.configure, run.run, run.EXAMPLE),
        "check": Action("say who is in a picture", check.configure, check.run, check.EXAMPLE),
        "evaluate": Action(
            "measure errors on your own pictures, and find the threshold",
            measure.configure,
            measure.run,
            measure.EXAMPLE,
        ),
        "align": Action(
            "write the aligned faces of pictures, to calibrate or judge an embedder on",
            align.configure,
            align.run,
            align.EXAMPLE,
        ),
        "people": Action("list who is enrolled", people.configure_people, people.run_people),
        "forget": Action("delete a person", people.configure_forget, people.run_forget),
    }
)
