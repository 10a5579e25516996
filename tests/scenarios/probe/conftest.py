from hypothesis import settings

# An example's time says more of the machine than of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
