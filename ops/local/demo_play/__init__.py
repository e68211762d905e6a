"""What `ao demo` plays: its repositories, its tasks, the agent that plays their fates, and the person who drives them."""
