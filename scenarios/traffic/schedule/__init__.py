"""When users come: schedules that depend on the seed alone."""
