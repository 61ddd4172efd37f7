"""A clinic's project, proposed once for the tests of this folder."""

import pytest
from tiny_clinic import write_clinic

from nexus_pipeline.propose.new_project import NewProject, create_from


@pytest.fixture(scope="session")
def clinic(tmp_path_factory) -> NewProject:
    parent = tmp_path_factory.mktemp("clinic")
    write_clinic(parent / "given", 120)
    return create_from(parent, "clinic", parent / "given", "patients.readmitted")
