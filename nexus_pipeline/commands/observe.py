"""Commands about this machine: doctor."""

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
