//! `thv registry convert`: from the outdated `ToolHive` format to the upstream document.
