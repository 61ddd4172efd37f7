"""The commands of ``nexusflow``: what each is asked, and what it answers."""
