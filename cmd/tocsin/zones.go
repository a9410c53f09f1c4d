package main

import _ "time/tzdata" // schedules name time zones, and a container may have no database of them
