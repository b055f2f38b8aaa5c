# Writes OUT, a CTest include file with one test for each suite.sentence that PROGRAM --list prints.
execute_process(COMMAND ${PROGRAM} --list OUTPUT_VARIABLE names RESULT_VARIABLE failed)
if(failed)
    message(FATAL_ERROR "${PROGRAM} --list failed: ${failed}")
endif()
string(REPLACE "\n" ";" names "${names}")
set(text "")
foreach(name IN LISTS names)
    if(name)
        string(APPEND text "add_test(\"${name}\" \"${PROGRAM}\" \"${name}\")\n"
            "set_tests_properties(\"${name}\" PROPERTIES LABELS host TIMEOUT 300)\n")
    endif()
endforeach()
file(WRITE ${OUT} "${text}")
