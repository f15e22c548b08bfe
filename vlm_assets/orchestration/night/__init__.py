"""What starts runs without a person: jobs, schedule, sensors, and what they look at."""
