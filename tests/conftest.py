"""For every test: nothing here is judged by how long an example takes; the machine may be busy."""

from hypothesis import settings

settings.register_profile("scrubjay", deadline=None)
settings.load_profile("scrubjay")
