"""Reference applications on top of a Session: small programs that do a whole job.

To add one: a folder here whose ``APP`` (an ``apps.app.App``) holds its actions, and a line in
``APPS``; it is then ``edgekit app NAME ACTION``. What several share is in ``vision/``. An app
runs on a device: it opens bundles and never imports a converter.
"""

from __future__ import annotations

from edgekit.registry import Entry

if __name__ != "edgekit.apps":
    raise ImportError(
        "import it as edgekit.apps; the name 'apps' at the repository's root is a link"
    )

APPS: dict[str, Entry] = {
    "face-unlock": Entry(
        "edgekit.apps.face_unlock:APP",
        needs=("cv2",),
        extra="apps",
        summary="know enrolled people by their faces, from a camera, a video or pictures",
    ),
}
