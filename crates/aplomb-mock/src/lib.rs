//! An AI provider to test against, in process or as a program, with faults on a plan.
