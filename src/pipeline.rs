//! One run from end to end: read, merge, resolve, plan, guard, apply.
