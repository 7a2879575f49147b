from hypothesis import settings

# No test asserts a time, so hypothesis shall not either.
settings.register_profile("detox", deadline=None)
settings.load_profile("detox")
