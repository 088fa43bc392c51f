# platen_room(): one folder of C++ becomes one static library, and the *_test.cpp beside it one test program.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
find_package(Threads REQUIRED)
find_program(PLATEN_CCACHE ccache)
if(PLATEN_CCACHE)
  # The two kinds of sloppiness that ccache asks for before it caches what includes a precompiled header.
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros "${PLATEN_CCACHE}")
  set(CMAKE_C_COMPILER_LAUNCHER "${PLATEN_CCACHE}")
endif()
if(PLATEN_SANITIZE)
  add_compile_options(-fsanitize=${PLATEN_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${PLATEN_SANITIZE})
endif()
if(PLATEN_FUZZERS)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(PLATEN_TESTS)
  enable_testing()
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()

add_library(platen_options INTERFACE)
target_compile_definitions(platen_options INTERFACE PLATEN_VERSION="${PROJECT_VERSION}")
target_compile_options(platen_options INTERFACE -Wall -Wextra -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 sees overlapping copies in std::string concatenation that are not there (GCC bug 105329).
  target_compile_options(platen_options INTERFACE -Wno-restrict)
else()
  # GCC 12's own std::stable_sort calls what it declares deprecated, and clang reports it.
  target_compile_options(platen_options INTERFACE -Wno-deprecated-declarations)
endif()
target_include_directories(platen_options INTERFACE "${CMAKE_SOURCE_DIR}")
# Generated files are included as system headers: their warnings are the generators'.
target_include_directories(platen_options SYSTEM INTERFACE "${CMAKE_BINARY_DIR}")

# platen_headers(<name> DEPS <targets>... HEADERS <headers>...)
#   One precompiled header for many targets, which take it by platen_precompile(<target> <name>). Only foreign headers
#   that take longer to read than our files take to compile. Not under sanitizers and fuzzers: those builds prove that every
#   file includes what it uses.
function(platen_headers name)
  cmake_parse_arguments(HEADERS "" "" "DEPS;HEADERS" ${ARGN})
  file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/precompiled/${name}.cpp" CONTENT "")
  add_library(${name} STATIC EXCLUDE_FROM_ALL "${CMAKE_BINARY_DIR}/precompiled/${name}.cpp")
  target_link_libraries(${name} PUBLIC platen_options ${HEADERS_DEPS})
  target_precompile_headers(${name} PRIVATE ${HEADERS_HEADERS})
  target_compile_options(${name} PRIVATE -fpch-preprocess)
endfunction()
function(platen_precompile target name)
  if(TARGET "${name}" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT PLATEN_SANITIZE)
    target_precompile_headers(${target} REUSE_FROM ${name})
    # GCC 12 forgets that <string> is a system header once it is precompiled, and warns of what cannot happen.
    target_compile_options(${target} PRIVATE -fpch-preprocess -Wno-stringop-overflow -Wno-array-bounds)
    # Programs are compiled as libraries are, or the header would not fit them.
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE -fPIC)
  endif()
endfunction()

# platen_room(<name> [DEPS <targets>...] [TEST_DEPS <targets>...] [SOURCES <files>...] [HEADERS <name>] [RECURSE])
#   Builds library platen_<name> from the *.cpp of the current folder (RECURSE: and of those below it), less
#   *_test.cpp, and test program <name>_test from the *_test.cpp. DEPS are public.
function(platen_room name)
  cmake_parse_arguments(ROOM "RECURSE" "HEADERS" "DEPS;TEST_DEPS;SOURCES" ${ARGN})
  if(ROOM_RECURSE)
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  else()
    file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  endif()
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "(_test|_fuzz|_main|_module)\\.cpp$")
  list(APPEND sources ${ROOM_SOURCES})
  add_library(platen_${name} STATIC ${sources})
  target_link_libraries(platen_${name} PUBLIC platen_options ${ROOM_DEPS})
  platen_precompile(platen_${name} "${ROOM_HEADERS}")
  if(PLATEN_TESTS AND tests)
    platen_test(${name}_test SOURCES ${tests} HEADERS ${ROOM_HEADERS} DEPS platen_${name} ${ROOM_TEST_DEPS})
  endif()
endfunction()

# platen_test(<name> SOURCES <files>... [HEADERS <name>] DEPS <targets>...): a GoogleTest program registered with ctest.
#   PLATEN_SHARED and PLATEN_SOURCE_DIR reach the test as environment variables.
function(platen_test name)
  cmake_parse_arguments(TEST "" "HEADERS" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${TEST_SOURCES})
  if(NOT TEST_HEADERS)
    set(TEST_HEADERS platen_test_headers)
  endif()
  platen_precompile(${name} ${TEST_HEADERS})
  target_link_libraries(${name} PRIVATE ${TEST_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60 PROPERTIES
    # Two properties, because gtest_discover_tests splits a list in one of them.
    ENVIRONMENT "PLATEN_SHARED=${PLATEN_SHARED}"
    ENVIRONMENT_MODIFICATION "PLATEN_SOURCE_DIR=set:${CMAKE_SOURCE_DIR}")
endfunction()

if(PLATEN_TESTS)
  platen_headers(platen_test_headers DEPS GTest::gtest GTest::gmock HEADERS <gmock/gmock.h> <gtest/gtest.h>)
endif()
