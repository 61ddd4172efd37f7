"""Commands that look and change nothing: doctor at the machine, graph at the project."""

from nexus_pipeline.answer import Answer
from nexus_pipeline.commands.options import HERE, ProjectOption


def doctor(project: ProjectOption = HERE) -> Answer:
    """Look at what this machine has: versions, devices, kernels, memory, disk, ports, the project.

    Example: nexusflow doctor
    """
    from nexus_pipeline.machine import examine, told_findings

    findings = examine(project)
    facts = [finding.model_dump(mode="json") for finding in findings]
    return Answer(facts, told_findings(findings))


def graph(project: ProjectOption = HERE) -> Answer:
    """Show which tables reference which, and along which paths the model reads them.

    Example: nexusflow graph --project nexusflow.yaml
    """
    from nexus_pipeline.project import load_project
    from nexus_pipeline.project_graph import project_graph, told_graph

    found = project_graph(load_project(project))
    return Answer(found, told_graph(found))
