package enginetest

const otherProcess = "SQLINDEX_TEST_OTHER_PROCESS"

func runOtherProcess() int { return 0 }
