from hypothesis import settings

# A busy machine is no failure.
settings.register_profile("positron", deadline=None)
settings.load_profile("positron")
